//! The first file system of a booted kernel: the kernel tests, what they run, and the modules they need, as a cpio
//! archive ("newc", Documentation/driver-api/early-userspace/buffer-format.rst of the kernel's source).

use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use testbed::tools::find;

/// Modules the kernel tests need; a kernel may have them built in.
pub(super) const MODULES: [&str; 3] = ["veth", "sch_ingress", "cls_bpf"];
/// Programs the first process and what it starts run.
const PROGRAMS: [&str; 3] = ["busybox", "ip", "ping"];

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// A cpio archive in the making.
struct Cpio {
    bytes: Vec<u8>,
    folders: BTreeSet<PathBuf>,
}

impl Cpio {
    fn entry(&mut self, path: &Path, mode: u32, content: &[u8]) {
        let name = path.to_string_lossy();
        let name = name.trim_start_matches('/');
        let fields = [
            self.bytes.len() as u32, // inode
            mode,
            0, // owner
            0, // group
            1, // links
            0, // time
            content.len() as u32,
            0, // device
            0,
            0,
            0,
            name.len() as u32 + 1,
            0, // checksum
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn folder(&mut self, path: &Path) {
        let missing: Vec<_> = path.ancestors().filter(|dir| dir.components().count() > 1).collect();
        for dir in missing.into_iter().rev() {
            if self.folders.insert(dir.to_owned()) {
                self.entry(dir, FOLDER, b"");
            }
        }
    }

    fn file(&mut self, path: &Path, content: &[u8]) {
        if let Some(parent) = path.parent() {
            self.folder(parent);
        }
        self.entry(path, PROGRAM, content);
    }
}

/// What every kernel's image has in common: our programs by the names they get in `/bin`, and what they run.
///
/// # Errors
/// When a program is missing or a file cannot be read.
pub(super) fn common(ours: &[(&str, &Path)]) -> Result<Vec<u8>> {
    let mut cpio = Cpio {
        bytes: Vec::new(),
        folders: BTreeSet::new(),
    };
    for dir in ["/proc", "/sys", "/dev", "/run", "/tmp"] {
        cpio.folder(Path::new(dir));
    }
    let mut libraries = BTreeSet::new();
    let mut programs: Vec<(&str, PathBuf)> = ours.iter().map(|(name, path)| (*name, stripped(path))).collect();
    for name in PROGRAMS {
        let path = find(name).with_context(|| format!("{name} is not installed"))?;
        programs.push((name, path));
    }
    for (name, path) in programs {
        libraries.extend(libraries_of(&path)?);
        let content = std::fs::read(&path).with_context(|| path.display().to_string())?;
        cpio.file(&Path::new("/bin").join(name), &content);
    }
    for path in libraries {
        let content = std::fs::read(&path).with_context(|| path.display().to_string())?;
        cpio.file(&path, &content);
    }
    Ok(cpio.bytes)
}

/// What one kernel's image has beyond the common part.
pub(super) struct Own<'a> {
    /// Where its packages were unpacked.
    pub(super) kernel: &'a Path,
    /// Modules in the order in which the first process puts them in, where the kernel has them not built in.
    pub(super) modules: &'a [&'a str],
    /// Files by their paths.
    pub(super) files: &'a [(&'a str, &'a [u8])],
    /// The first process.
    pub(super) init: &'a str,
}

/// Writes a kernel's image.
///
/// # Errors
/// When a file cannot be read or written.
pub(super) fn write(common: &[u8], own: &Own<'_>, out: &Path) -> Result<()> {
    let mut cpio = Cpio {
        bytes: common.to_vec(),
        folders: BTreeSet::new(),
    };
    for (place, name) in own.modules.iter().enumerate() {
        if let Some(path) = super::find_file(own.kernel, &|file| {
            file.split_once(".ko").is_some_and(|(stem, _)| stem == *name)
        }) {
            cpio.file(Path::new(&format!("/modules/{place}-{name}.ko")), &unpacked(&path)?);
        }
    }
    for (path, content) in own.files {
        cpio.file(Path::new(path), content);
    }
    cpio.file(Path::new("/init"), own.init.as_bytes());
    cpio.entry(Path::new("TRAILER!!!"), 0, b"");
    std::fs::write(out, cpio.bytes).with_context(|| out.display().to_string())
}

/// A program without its debug information, which would be most of the image.
fn stripped(program: &Path) -> PathBuf {
    let small = program.with_extension("stripped");
    let done = Command::new("strip")
        .arg("--strip-debug")
        .arg("-o")
        .arg(&small)
        .arg(program)
        .status();
    if done.is_ok_and(|status| status.success()) {
        return small;
    }
    program.to_owned()
}

fn unpacked(module: &Path) -> Result<Vec<u8>> {
    let tool = match module.extension().and_then(|ext| ext.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return std::fs::read(module).with_context(|| module.display().to_string()),
    };
    let out = Command::new(tool)
        .arg("-dc")
        .arg(module)
        .output()
        .with_context(|| format!("{tool} cannot be run"))?;
    ensure!(out.status.success(), "{tool} cannot unpack {}", module.display());
    Ok(out.stdout)
}

/// The shared libraries of a program, with the loader; none for a static one.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    let out = Command::new("ldd").arg(program).output().context("ldd cannot be run")?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    Ok(text
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect())
}
