//! A clock on the wall that a test sets, for programs of ours that it starts. libfaketime tells it to them in place of the
//! system's; the clock that timers run by is left alone, as it is when a machine's time is set.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Programs that read the clock.
const CLOCKED: [&str; 3] = ["control-plane", "sidecar", "meshctl"];
/// Programs that only have to be beside them.
const OTHERS: [&str; 2] = ["origin", "load"];
/// Where systems have the library.
const PLACES: [&str; 3] = ["/usr/lib", "/usr/lib64", "/usr/local/lib"];

/// The clock, and a folder of programs that go by it.
#[derive(Debug)]
pub struct Clock {
    dir: PathBuf,
}

impl Clock {
    /// Makes the folder in `dir`, of the programs in `programs`. The clock is right until it is set.
    ///
    /// # Panics
    /// libfaketime is not installed.
    pub fn new(programs: &Path, dir: &Path) -> Self {
        let library = library().expect("libfaketime: install the package faketime");
        let clock = Self { dir: dir.join("clocked") };
        std::fs::create_dir(&clock.dir).unwrap();
        clock.set("+0");
        for name in CLOCKED {
            let (script, program, time) = (clock.dir.join(name), programs.join(name), clock.file());
            let text = format!(
                "#!/bin/sh\nexec env LD_PRELOAD='{}' FAKETIME_TIMESTAMP_FILE='{}' FAKETIME_NO_CACHE=1 \
                 FAKETIME_DONT_FAKE_MONOTONIC=1 '{}' \"$@\"\n",
                library.display(),
                time.display(),
                program.display()
            );
            std::fs::write(&script, text).unwrap();
            std::fs::set_permissions(&script, PermissionsExt::from_mode(0o700)).unwrap();
        }
        for name in OTHERS {
            symlink(programs.join(name), clock.dir.join(name)).unwrap();
        }
        clock
    }

    /// The programs.
    pub fn programs(&self) -> &Path {
        &self.dir
    }

    /// Sets it, as `+20h` or `-30s` from the right time. It counts at once.
    ///
    /// # Panics
    /// The file can't be written.
    pub fn set(&self, offset: &str) {
        let next = self.dir.join("next");
        std::fs::write(&next, offset).unwrap();
        // In one step: who reads half of it reads another time.
        std::fs::rename(next, self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.dir.join("time")
    }
}

fn library() -> Option<PathBuf> {
    let of_architecture = |place: &str| {
        let folders = std::fs::read_dir(place).ok()?;
        Some(folders.filter_map(|folder| Some(folder.ok()?.path())).collect::<Vec<_>>())
    };
    let folders = PLACES.iter().flat_map(|place| {
        let own = of_architecture(place).unwrap_or_default();
        std::iter::once(PathBuf::from(place)).chain(own)
    });
    folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|file| file.is_file())
}
