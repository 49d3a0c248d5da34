//! The program's allocator, and how it is set.
//!
//! A queue grows and shrinks by tens of megabytes within minutes, in small pieces that many threads take and give back. The
//! allocator of the C library keeps most of that for itself; this one gives it back, which is what lets a million mails wait in
//! 128 MB. `main.rs` makes it the program's; tests keep the one of the C library.

/// The allocator.
pub use tikv_jemallocator::Jemalloc as Allocator;

/// Gives memory that is free for a second back to the kernel, by a thread that has nothing else to do. Not for a process that
/// forks.
pub fn give_back_in_background() {
    // Without it memory is given back when more is asked for: later, and never when idle.
    let _ = tikv_jemalloc_ctl::background_thread::write(true);
}

/// Two arenas for all threads, and nothing kept for longer than a second.
// SAFETY: the allocator reads a string that ends in a zero octet from the symbol of this name, which nothing else defines.
#[used]
#[unsafe(export_name = "_rjem_malloc_conf")]
static SETTINGS: &Settings = &Settings(*b"narenas:2,dirty_decay_ms:1000,muzzy_decay_ms:0\0");

/// A reference to it is what C calls `const char *`.
#[repr(transparent)]
struct Settings([u8; 47]);
