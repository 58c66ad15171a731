//! The page that `--report` names: opened before anything is measured, so that a place that cannot be written costs no run.

use crate::bench::results::Outcome;
use crate::bench::results::html;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A page to be written. Without anything to write, a file that was not there is not left behind.
pub struct Report {
    path: PathBuf,
    file: File,
    fresh: bool,
}

impl Report {
    /// Opens the file; what is in it stays until there is something to write.
    ///
    /// # Errors
    /// A sentence that says why it cannot be written.
    pub fn open(path: &Path) -> Result<Report, String> {
        let fresh = !path.exists();
        let opened = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(path);
        let file = opened.map_err(|error| failed(path, &error))?;
        Ok(Report {
            path: path.to_owned(),
            file,
            fresh,
        })
    }

    /// Writes it.
    ///
    /// # Errors
    /// A sentence that says why it cannot be written.
    pub fn write(mut self, outcome: &Outcome) -> Result<(), String> {
        let text = html::render(outcome);
        let written = self
            .file
            .set_len(0)
            .and_then(|()| self.file.write_all(text.as_bytes()));
        // What cannot be made empty is no file, but a pipe or a terminal.
        let written = written.or_else(|error| match error.kind() {
            io::ErrorKind::InvalidInput => self.file.write_all(text.as_bytes()),
            _ => Err(error),
        });
        self.fresh = false;
        written.map_err(|error| failed(&self.path, &error))
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if self.fresh {
            let _gone_already = fs::remove_file(&self.path);
        }
    }
}

fn failed(path: &Path, error: &io::Error) -> String {
    format!("--report {}: {error}", path.display())
}
