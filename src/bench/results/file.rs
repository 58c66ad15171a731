//! The HTML file of `--report`, opened before the run, so that a path that cannot be written costs
//! no measurement.

use crate::bench::results::{Outcome, html};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::{error, fmt};

/// A report to be written. Dropped before it is written, it removes the file if it created it.
pub struct ReportFile {
    path: PathBuf,
    file: File,
    is_new: bool,
}

/// The report cannot be written.
#[derive(Debug)]
pub struct ReportError {
    path: PathBuf,
    error: io::Error,
}

impl ReportFile {
    /// Opens the file. Its contents stay until [`ReportFile::write`].
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn open(path: &Path) -> Result<ReportFile, ReportError> {
        let is_new = !path.exists();
        let opened = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(path);
        match opened {
            Ok(file) => Ok(ReportFile {
                path: path.to_owned(),
                file,
                is_new,
            }),
            Err(error) => Err(ReportError {
                path: path.to_owned(),
                error,
            }),
        }
    }

    /// Replaces the file's contents by the report.
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn write(mut self, outcome: &Outcome) -> Result<(), ReportError> {
        let text = html::render(outcome);
        let truncated = match self.file.set_len(0) {
            // A pipe or a terminal cannot be truncated.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            truncated => truncated,
        };
        let written = truncated.and_then(|()| self.file.write_all(text.as_bytes()));
        self.is_new = false;
        written.map_err(|error| ReportError {
            path: self.path.clone(),
            error,
        })
    }
}

impl Drop for ReportFile {
    fn drop(&mut self) {
        if self.is_new {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl fmt::Display for ReportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--report {}: {}", self.path.display(), self.error)
    }
}

impl error::Error for ReportError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.error)
    }
}
