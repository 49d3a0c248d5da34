//! The program's allocator and its settings; memory that is returned to the kernel.
//!
//! A queue grows and shrinks by tens of megabytes within minutes, in small pieces that many threads
//! allocate and free. The allocator of the C library keeps most of that memory; this one returns it
//! to the kernel, so that a million mails can wait in 128 MB. `main.rs` makes it the program's
//! allocator; tests use the one of the C library.

use nix::libc;
use nix::unistd::{SysconfVar, sysconf};
use std::ffi::CStr;
use std::slice;

/// The allocator.
pub use tikv_jemallocator::Jemalloc as Allocator;

/// Returns memory that has been free for a second to the kernel, by a background thread. Not for a
/// process that forks.
pub fn give_back_in_background() {
    // Without it memory is returned at later allocations only, and never when idle.
    let _ = tikv_jemalloc_ctl::background_thread::write(true);
}

/// Drops the program's code and constants from this process's memory until they are used again; the
/// page cache keeps them. Useful when much of the program was used only once: at a start, under
/// load.
pub fn give_back_program() {
    // SAFETY: the callback has the signature that is asked for, is called for each loaded object
    // before this returns, and does not unwind.
    unsafe { libc::dl_iterate_phdr(Some(give_back_object), std::ptr::null_mut()) };
}

/// For one loaded object: the program itself, or a library.
unsafe extern "C" fn give_back_object(
    object: *mut libc::dl_phdr_info,
    _size: usize,
    _data: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: `dl_iterate_phdr` hands over a description that is valid until this returns.
    let object = unsafe { &*object };
    // SAFETY: so are the name, a string that ends in a zero octet, and the program headers, as many
    // as it says.
    let (name, headers) = unsafe {
        (
            CStr::from_ptr(object.dlpi_name),
            slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()),
        )
    };
    // The kernel's own object (vdso) has no file. The program has no name here, libraries have a
    // path.
    if !name.is_empty() && !name.to_bytes().contains(&b'/') {
        return 0;
    }
    let Ok(Some(page)) = sysconf(SysconfVar::PAGE_SIZE) else { return 1 };
    let page = page.unsigned_abs();
    for header in headers
        .iter()
        .filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0)
    {
        let start = object.dlpi_addr + header.p_vaddr;
        // Whole pages only: the first and the last may be shared with a neighbour.
        let (from, to) = (start.next_multiple_of(page), (start + header.p_memsz) / page * page);
        if let Some(length) = to.checked_sub(from).and_then(|length| usize::try_from(length).ok()) {
            // SAFETY: a segment that was never writable holds what its file holds and nothing else,
            // so the kernel reads the same octets from the file again when they are wanted. A
            // refusal changes nothing.
            let _ =
                unsafe { libc::madvise(from as *mut libc::c_void, length, libc::MADV_DONTNEED) };
        }
    }
    0
}

/// Two arenas for all threads, and no memory kept for longer than a second.
// SAFETY: the allocator reads a string that ends in a zero octet from the symbol of this name,
// which nothing else defines.
#[used]
#[unsafe(export_name = "_rjem_malloc_conf")]
static SETTINGS: &Settings = &Settings(*b"narenas:2,dirty_decay_ms:1000,muzzy_decay_ms:0\0");

/// A reference to it is what C calls `const char *`.
#[repr(transparent)]
struct Settings([u8; 47]);

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    /// Octets of read-only memory of files that this process has in use, by the kernel's account.
    fn program_in_use() -> u64 {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut counts = false;
        let mut octets = 0;
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("Rss:"), Some(size)) if counts => {
                    octets += size.parse::<u64>().unwrap() * 1024
                }
                (Some(range), Some(rights)) if range.contains('-') => {
                    counts = rights == "r-xp" && line.contains('/')
                }
                _ => {}
            }
        }
        octets
    }

    /// Takes all of the program into use: what measuring needs afterwards is little beside it.
    fn use_program() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        for line in maps.lines().filter(|line| line.contains(" r-xp ") && line.contains('/')) {
            let (start, rest) = line.split_once('-').unwrap();
            let end = rest.split(' ').next().unwrap();
            let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
            let mut content = vec![0; usize::try_from(end - start).unwrap()];
            memory.read_exact_at(&mut content, start).unwrap();
        }
    }

    #[test]
    fn the_program_goes_on_after_it_gave_its_pages_back() {
        let texts: Vec<_> = (0..2000)
            .map(|number| format!("{number} of {:?}", std::time::Duration::from_millis(number)))
            .collect();
        use_program();
        let before = program_in_use();
        give_back_program();
        let after = program_in_use();
        assert!(after < before / 2, "{before} octets before, {after} after");
        assert_eq!(texts[1999], "1999 of 1.999s");
    }
}
