//! Other processes as the operating system shows them: who holds a pid file, who holds a UDP port,
//! and how to ask one to stop.
//!
//! A pid file is locked for as long as its process lives, so a held lock means "alive" whatever the
//! number in it says, and a restart of the machine leaves no false trace. Linux only where `/proc`
//! is read; elsewhere the answer is "unknown". Deliberately starts nothing: that is `children`.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

/// A pid file held by this process until it ends.
#[derive(Debug)]
pub struct PidFile {
    _locked: File,
}

/// Why a pid file could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum PidFileError {
    /// Another process holds it.
    #[error("{path} is held by {holder}", path = .path.display(), holder = describe(*.pid))]
    Held {
        /// The file.
        path: PathBuf,
        /// Who, if it has written its number already.
        pid: Option<u32>,
    },
    /// It cannot be opened or written.
    #[error("cannot write {path}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn describe(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".into(), |pid| format!("pid {pid}"))
}

impl PidFile {
    /// Takes the file for this process and writes its pid into it.
    ///
    /// # Errors
    /// [`PidFileError::Held`] while its holder lives.
    pub fn take(path: &Path) -> Result<Self, PidFileError> {
        let failed = |source| PidFileError::Io { path: path.to_owned(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = read_pid(&mut file);
                return Err(PidFileError::Held { path: path.to_owned(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        file.set_len(0).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _locked: file })
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Who holds a pid file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody: there is no file, or whoever wrote it is gone.
    Nobody,
    /// A process that has not written its number yet.
    Unknown,
    /// This process.
    Process(u32),
}

/// Looks whether a pid file is held, without waiting.
///
/// # Errors
/// When the file is there but cannot be opened.
pub fn holder(path: &Path) -> io::Result<Holder> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Holder::Nobody),
        Err(other) => return Err(other),
    };
    // The lock is tried only where it can matter: a process that is being started at this moment
    // inherits it for an instant, and could then seem to be its holder.
    if read_pid(&mut file).is_some_and(is_gone) {
        return Ok(Holder::Nobody);
    }
    match file.try_lock_shared() {
        Ok(()) => Ok(Holder::Nobody),
        Err(TryLockError::WouldBlock) => {
            Ok(read_pid(&mut file).map_or(Holder::Unknown, Holder::Process))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether there is certainly no process of this number.
fn is_gone(pid: u32) -> bool {
    let processes = Path::new("/proc");
    processes.join("self").exists() && !processes.join(pid.to_string()).exists()
}

/// The arguments a process was started with, its own name left out. Empty when it is gone.
pub fn arguments_of(pid: u32) -> Vec<OsString> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = line.strip_suffix(&[0]).unwrap_or(&line);
    line.split(|byte| *byte == 0).skip(1).map(|word| OsStr::from_bytes(word).to_owned()).collect()
}

/// What to ask of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Stop in order, after whatever has to be said to others (SIGTERM).
    Stop,
    /// Stop in order, and wait for nobody (SIGINT): all that could take over stop as well.
    StopNow,
    /// End at once (SIGKILL).
    Die,
    /// Read certificate and log level again (SIGHUP).
    Reload,
}

/// Sends a signal. A process that is gone already is no error.
pub fn signal(pid: u32, ask: Ask) {
    let signal = match ask {
        Ask::Stop => Signal::TERM,
        Ask::StopNow => Signal::INT,
        Ask::Die => Signal::KILL,
        Ask::Reload => Signal::HUP,
    };
    let Some(target) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    if let Err(error) = kill_process(target, signal) {
        tracing::debug!(pid, %error, "no signal sent");
    }
}

/// Who holds a UDP port, as far as it can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortOwner {
    /// The process.
    pub pid: u32,
    /// Its name, at most 15 characters.
    pub name: String,
}

/// Finds the process behind a UDP socket that keeps `addr` from being bound. `None` when it belongs
/// to another user or the system does not say.
pub fn udp_owner(addr: SocketAddr) -> Option<PortOwner> {
    let inodes: Vec<String> = ["/proc/net/udp", "/proc/net/udp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| inodes_in(&table, addr))
        .collect();
    let links: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let holds = fs::read_dir(entry.path().join("fd")).ok()?.flatten().any(|open| {
            fs::read_link(open.path())
                .is_ok_and(|target| links.iter().any(|link| target.as_os_str() == link.as_str()))
        });
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        holds.then(|| PortOwner { pid, name: name.trim().to_owned() })
    })
}

/// The inodes of the sockets in a `/proc/net/udp` table that collide with `addr`.
fn inodes_in(table: &str, addr: SocketAddr) -> Vec<String> {
    let collides = |line: &str| -> Option<String> {
        let mut fields = line.split_ascii_whitespace();
        let (ip, port) = fields.nth(1)?.split_once(':')?;
        let (ip, port) = (kernel_ip(ip)?, u16::from_str_radix(port, 16).ok()?);
        let same = ip == addr.ip() || ip.is_unspecified() || addr.ip().is_unspecified();
        // After local_address: rem_address st queues tr retrnsmt uid timeout inode.
        (same && port == addr.port()).then(|| fields.nth(7).map(str::to_owned)).flatten()
    };
    table.lines().filter_map(collides).collect()
}

/// The kernel prints addresses as 32-bit words in the machine's own byte order.
fn kernel_ip(text: &str) -> Option<IpAddr> {
    let mut words = Vec::new();
    for start in (0..text.len()).step_by(8) {
        let word = u32::from_str_radix(text.get(start..start + 8)?, 16).ok()?;
        words.extend_from_slice(&word.to_ne_bytes());
    }
    if let Ok(four) = <[u8; 4]>::try_from(words.as_slice()) {
        return Some(Ipv4Addr::from(four).into());
    }
    let sixteen = <[u8; 16]>::try_from(words.as_slice()).ok()?;
    Some(Ipv6Addr::from(sixteen).to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_is_held_by_one_and_free_once_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s1.pid");
        assert_eq!(holder(&path).unwrap(), Holder::Nobody);
        let held = PidFile::take(&path).unwrap();
        assert_eq!(holder(&path).unwrap(), Holder::Process(std::process::id()));
        let Err(PidFileError::Held { pid, .. }) = PidFile::take(&path) else { panic!("taken") };
        assert_eq!(pid, Some(std::process::id()));
        drop(held);
        assert_eq!(holder(&path).unwrap(), Holder::Nobody);
        PidFile::take(&path).unwrap();
    }

    #[test]
    fn the_owner_of_a_udp_port_is_found() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let owner = udp_owner(socket.local_addr().unwrap()).unwrap();
        assert_eq!(owner.pid, std::process::id());
        assert!(!owner.name.is_empty());
    }

    #[test]
    fn a_table_of_the_kernel_is_read() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\
                     uid  timeout inode ref pointer drops\n  \
                     98: 0100007F:2328 00000000:0000 07 00000000:00000000 00:00000000 00000000  \
                     1000        0 55512 2 0000000000000000 0\n";
        assert_eq!(inodes_in(table, "127.0.0.1:9000".parse().unwrap()), ["55512"]);
        assert_eq!(inodes_in(table, "0.0.0.0:9000".parse().unwrap()), ["55512"]);
        assert!(inodes_in(table, "127.0.0.2:9000".parse().unwrap()).is_empty());
        assert!(inodes_in(table, "127.0.0.1:9001".parse().unwrap()).is_empty());
    }

    #[test]
    fn the_arguments_of_a_process_are_seen() {
        let own: Vec<OsString> = std::env::args_os().skip(1).collect();
        assert_eq!(arguments_of(std::process::id()), own);
    }
}
