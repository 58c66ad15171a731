//! A directory that is removed with the test.

use std::path::{Path, PathBuf};

pub struct Directory(PathBuf);

impl Directory {
    pub fn new(name: &str) -> Directory {
        Directory::within(Path::new(env!("CARGO_TARGET_TMPDIR")), name)
    }

    /// Below the system's directory of temporary files, which every user may read.
    pub fn temporary(name: &str) -> Directory {
        Directory::within(&std::env::temp_dir(), &format!("hairpin-{name}"))
    }

    fn within(parent: &Path, name: &str) -> Directory {
        let path = parent.join(format!("{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The path of an entry as text, for command lines and configuration files.
    pub fn text(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file and returns its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.0.join(name), text).unwrap();
        self.text(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
