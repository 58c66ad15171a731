//! Lines that wait on disk for a sink that is down: a file of lines, and beside it how far the sink has come.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A queue of lines in a directory.
#[derive(Debug)]
pub struct Spool {
    file: File,
    path: PathBuf,
    place: PathBuf,
    /// Octets of the file that were taken.
    taken: u64,
    /// Octets of the file.
    length: u64,
    most: u64,
    /// Held as long as this process has the spool.
    _lock: File,
}

impl Spool {
    /// Opens the spool of a directory, which is made when it is not there; at most `most` octets may wait in it. Lines that
    /// an earlier run left are still there. While another process has it, one inside serves, whose lines the next run finds.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(directory: &Path, most: u64) -> io::Result<Spool> {
        if let Some(mut spool) = Spool::open_alone(directory, most)? {
            (1..PROCESSES)
                .try_for_each(|number| spool.adopt(&directory.join(number.to_string())))?;
            return Ok(spool);
        }
        for number in 1..PROCESSES {
            if let Some(spool) = Spool::open_alone(&directory.join(number.to_string()), most)? {
                return Ok(spool);
            }
        }
        Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "too many servers have this spool",
        ))
    }

    /// Opens a directory's, unless another process has it.
    fn open_alone(directory: &Path, most: u64) -> io::Result<Option<Spool>> {
        fs::create_dir_all(directory)?;
        let lock = open_private(
            &directory.join("usage.lock"),
            OpenOptions::new().truncate(true),
        )?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let path = directory.join("usage.jsonl");
        let file = open_private(&path, OpenOptions::new().append(true).read(true))?;
        let place = directory.join("usage.taken");
        let length = whole_lines(&file)?;
        file.set_len(length)?;
        let taken = fs::read_to_string(&place)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0);
        let taken = if taken > length { 0 } else { taken };
        Ok(Some(Spool {
            file,
            path,
            place,
            taken,
            length,
            most,
            _lock: lock,
        }))
    }

    /// Takes what waits in another spool that nobody has, as far as there is room.
    fn adopt(&mut self, directory: &Path) -> io::Result<()> {
        if !directory.exists() {
            return Ok(());
        }
        let Some(mut left) = Spool::open_alone(directory, self.most)? else {
            return Ok(());
        };
        let (lines, end) = left.peek(usize::MAX)?;
        for line in lines {
            if !self.push(&(line + "\n"))? {
                return Ok(());
            }
        }
        left.take(end)
    }

    /// Adds a line, which ends in a line break; false, and nothing added, when too much waits already.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn push(&mut self, line: &str) -> io::Result<bool> {
        if self.length - self.taken + line.len() as u64 > self.most {
            return Ok(false);
        }
        self.file.write_all(line.as_bytes())?;
        self.length += line.len() as u64;
        Ok(true)
    }

    /// The oldest lines that wait, at most so many, without their line breaks; and what to tell [`Spool::take`] once they
    /// are where they should be.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn peek(&mut self, lines: usize) -> io::Result<(Vec<String>, u64)> {
        self.file.seek(SeekFrom::Start(self.taken))?;
        let mut reader = BufReader::new(&self.file);
        let (mut found, mut end) = (Vec::new(), self.taken);
        while found.len() < lines && end < self.length {
            let mut line = String::new();
            let read = reader.read_line(&mut line)? as u64;
            if read == 0 {
                break;
            }
            end += read;
            found.push(line.trim_end().to_owned());
        }
        Ok((found, end))
    }

    /// Forgets the lines up to an end that [`Spool::peek`] told.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn take(&mut self, end: u64) -> io::Result<()> {
        self.taken = end.min(self.length);
        if self.taken == self.length {
            self.file.set_len(0)?;
            (self.taken, self.length) = (0, 0);
        } else if self.taken > self.most {
            return self.compact();
        }
        write(&self.place, &self.taken.to_string())
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.taken == self.length
    }

    /// Rewrites the file without what was taken, which a busy sink that never catches up would let grow. Whenever the power
    /// fails meanwhile, a line may come twice, and none is lost.
    fn compact(&mut self) -> io::Result<()> {
        let (rest, _) = self.peek(usize::MAX)?;
        let text: String = rest.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        let beside = self.path.with_extension("new");
        write(&beside, &text)?;
        write(&self.place, "0")?;
        fs::rename(&beside, &self.path)?;
        self.file = OpenOptions::new()
            .append(true)
            .read(true)
            .open(&self.path)?;
        (self.taken, self.length) = (0, text.len() as u64);
        Ok(())
    }
}

/// Opens a file that only this user may read, as an earlier run's need not be: it says who spoke with whom.
fn open_private(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = options.create(true).write(true).mode(0o600).open(path)?;
    // Another user's file stays as its owner wants it.
    let _ = file.set_permissions(Permissions::from_mode(0o600));
    Ok(file)
}

/// Writes a text in place of what a file holds.
fn write(path: &Path, text: &str) -> io::Result<()> {
    open_private(path, OpenOptions::new().truncate(true))?.write_all(text.as_bytes())
}

/// How much of a file is whole lines: a run that was killed may have left the beginning of one more.
fn whole_lines(file: &File) -> io::Result<u64> {
    let (mut length, mut whole) = (0, 0);
    let mut reader = BufReader::new(file);
    loop {
        let octets = reader.fill_buf()?;
        if octets.is_empty() {
            return Ok(whole);
        }
        let read = octets.len();
        if let Some(last) = octets.iter().rposition(|octet| *octet == b'\n') {
            whole = length + last as u64 + 1;
        }
        length += read as u64;
        reader.consume(read);
    }
}

/// Processes that may have one directory: a server, and those that take over from it one after the other.
const PROCESSES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_wait_in_order_within_bounds_and_survive_a_restart() {
        let directory = std::env::temp_dir().join(format!("hairpin-spool-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let mut spool = Spool::open(&directory, 20).unwrap();
        assert!(
            spool.push("one\n").unwrap()
                && spool.push("two\n").unwrap()
                && spool.push("three\n").unwrap()
        );
        assert!(!spool.push("seventh\n").unwrap(), "22 octets");
        let (lines, end) = spool.peek(2).unwrap();
        assert_eq!(lines, ["one", "two"]);
        spool.take(end).unwrap();
        drop(spool);
        let mut spool = Spool::open(&directory, 20).unwrap();
        assert!(spool.push("four\n").unwrap());
        let (lines, end) = spool.peek(9).unwrap();
        assert_eq!(lines, ["three", "four"]);
        assert!(!spool.is_empty());
        spool.take(end).unwrap();
        assert!(spool.is_empty());
        assert_eq!(
            fs::metadata(directory.join("usage.jsonl")).unwrap().len(),
            0,
            "a spool that is empty takes no room"
        );
        assert!(spool.push("five\n").unwrap());
        assert_eq!(spool.peek(9).unwrap().0, ["five"]);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn nobody_else_reads_it() {
        let directory =
            std::env::temp_dir().join(format!("hairpin-spool-mode-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let mut spool = Spool::open(&directory, 10).unwrap();
        // What was taken exceeds what may wait, so that the file is written anew.
        for number in 0..8 {
            assert!(spool.push(&format!("{number}\n")).unwrap());
            let (_, end) = spool.peek(usize::from(number > 0)).unwrap();
            spool.take(end).unwrap();
        }
        let files: Vec<_> = fs::read_dir(&directory)
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect();
        assert_eq!(files.len(), 3, "{files:?}");
        for file in files {
            assert_eq!(
                fs::metadata(&file).unwrap().permissions().mode() & 0o777,
                0o600,
                "{file:?}"
            );
        }
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn two_processes_do_not_write_into_one_file() {
        let directory =
            std::env::temp_dir().join(format!("hairpin-spool-two-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let (mut old, mut new) = (
            Spool::open(&directory, 100).unwrap(),
            Spool::open(&directory, 100).unwrap(),
        );
        assert!(old.push("old\n").unwrap() && new.push("new\n").unwrap());
        assert_eq!(
            (old.peek(9).unwrap().0, new.peek(9).unwrap().0),
            (vec!["old".into()], vec!["new".into()])
        );
        drop((old, new));
        assert_eq!(
            Spool::open(&directory, 100).unwrap().peek(9).unwrap().0,
            ["old", "new"]
        );
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_a_killed_run_wrote_half_is_left_out() {
        let directory =
            std::env::temp_dir().join(format!("hairpin-spool-torn-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("usage.jsonl"), "whole\nha").unwrap();
        let mut spool = Spool::open(&directory, 100).unwrap();
        assert!(spool.push("next\n").unwrap());
        assert_eq!(spool.peek(9).unwrap().0, ["whole", "next"]);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_spool_that_never_runs_empty_does_not_grow() {
        let directory =
            std::env::temp_dir().join(format!("hairpin-spool-busy-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let mut spool = Spool::open(&directory, 100).unwrap();
        spool.push("0\n").unwrap();
        for number in 1..1000 {
            assert!(spool.push(&format!("{number}\n")).unwrap());
            let (lines, end) = spool.peek(1).unwrap();
            assert_eq!(lines, [(number - 1).to_string()]);
            spool.take(end).unwrap();
        }
        assert!(fs::metadata(directory.join("usage.jsonl")).unwrap().len() < 200);
        fs::remove_dir_all(&directory).unwrap();
    }
}
