//! Who this machine is: host name, full name, hardware address.
//!
//! Borg's locks carry `<full name>@<hardware address as a number>`, and both programs
//! must come to the same answer to recognise each other's dead locks. The number is
//! what Python's `uuid.getnode` gets from libuuid: the address of the first interface
//! that has an IPv4 address and a hardware address other than zero.

use std::ffi::{CStr, CString};
use std::os::fd::AsRawFd;

/// Interfaces that libuuid looks at: what fits its buffer of 1024 bytes.
const MOST_INTERFACES: usize = 25;

/// Returns the machine's host name as the kernel has it, possibly with a domain.
#[must_use]
pub fn host_name() -> Vec<u8> {
    rustix::system::uname().nodename().to_bytes().to_vec()
}

/// Returns system, host, release, version and machine, as `uname` prints them.
#[must_use]
pub fn platform() -> String {
    let name = rustix::system::uname();
    let parts = [
        name.sysname(),
        name.nodename(),
        name.release(),
        name.version(),
        name.machine(),
    ];
    let parts: Vec<_> = parts.map(CStr::to_string_lossy).into();
    parts.join(" ")
}

/// Returns the full name that the system's resolver gives to a host name.
///
/// May ask the network. Without an answer the name itself is the full name.
#[must_use]
pub fn full_name(host_name: &[u8]) -> Vec<u8> {
    canonical_name(host_name).unwrap_or_else(|| host_name.to_vec())
}

fn canonical_name(host_name: &[u8]) -> Option<Vec<u8>> {
    let name = CString::new(host_name.trim_ascii()).ok()?;
    // SAFETY: all-zero bytes are a valid `addrinfo`: numbers zero, pointers null.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_socktype = libc::SOCK_DGRAM;
    hints.ai_flags = libc::AI_CANONNAME;
    let mut answers = std::ptr::null_mut();
    // SAFETY: the name ends with a zero byte, the hints live as long as the call.
    let code = unsafe {
        libc::getaddrinfo(
            name.as_ptr(),
            std::ptr::null(),
            &raw const hints,
            &raw mut answers,
        )
    };
    if code != 0 || answers.is_null() {
        return None;
    }
    // SAFETY: success gives a list of at least one answer, whose canonical name is null
    // or a string; it is copied before the list is freed, once.
    unsafe {
        let canonical = (*answers).ai_canonname;
        let name = (!canonical.is_null()).then(|| CStr::from_ptr(canonical).to_bytes().to_vec());
        libc::freeaddrinfo(answers);
        name.filter(|name| !name.is_empty())
    }
}

/// Returns the machine's hardware address as a number of 48 bits.
///
/// `None` where no interface has one: Python then invents a number per process.
#[must_use]
pub fn hardware_address() -> Option<u64> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    let socket = socket.as_raw_fd();
    // SAFETY: all-zero bytes are a valid `ifreq`.
    let mut interfaces: [libc::ifreq; MOST_INTERFACES] = unsafe { std::mem::zeroed() };
    let mut list = libc::ifconf {
        ifc_len: i32::try_from(size_of_val(&interfaces)).ok()?,
        ifc_ifcu: libc::__c_anonymous_ifc_ifcu {
            ifcu_req: interfaces.as_mut_ptr(),
        },
    };
    // SAFETY: the kernel writes at most `ifc_len` bytes to the array.
    if unsafe { libc::ioctl(socket, libc::SIOCGIFCONF, &raw mut list) } < 0 {
        return None;
    }
    let count = usize::try_from(list.ifc_len).ok()? / size_of::<libc::ifreq>();
    interfaces.iter_mut().take(count).find_map(|interface| {
        // SAFETY: the request holds an interface name; the kernel fills in the address.
        if unsafe { libc::ioctl(socket, libc::SIOCGIFHWADDR, &raw mut *interface) } < 0 {
            return None;
        }
        // SAFETY: after SIOCGIFHWADDR that member of the union is the one in use.
        let address = unsafe { interface.ifr_ifru.ifru_hwaddr.sa_data };
        let number = address.iter().take(6).fold(0u64, |number, byte| {
            number << 8 | u64::from(byte.cast_unsigned())
        });
        (number != 0).then_some(number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn python_gives_the_same_names_and_the_same_number() {
        let program = "import socket, uuid\n\
            name = socket.gethostname()\n\
            full = [a[3] for a in socket.getaddrinfo(name, None, 0, socket.SOCK_DGRAM, 0, socket.AI_CANONNAME) if a[3]]\n\
            print(name, full[0], uuid.getnode(), sep='\\n')";
        let python = Command::new("python3").args(["-c", program]).output();
        let Ok(python) = python else {
            return eprintln!("python3 is not installed");
        };
        let text = String::from_utf8(python.stdout).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let name = host_name();
        assert_eq!(name, lines[0].as_bytes());
        assert_eq!(full_name(&name), lines[1].as_bytes());
        if let Some(number) = hardware_address() {
            assert_eq!(number.to_string(), lines[2]);
        }
    }

    #[test]
    fn a_name_that_nobody_resolves_is_its_own_full_name() {
        assert_eq!(full_name(b"no such host.invalid"), b"no such host.invalid");
        assert_eq!(full_name(b"zero\0byte"), b"zero\0byte");
    }
}
