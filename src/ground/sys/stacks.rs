//! The stacks of all threads of this process, for a program that hangs.
//!
//! In: nothing. Out: for each thread the addresses on its stack, as offsets in the loaded files;
//! and, in any process of the same program, the names of the functions there.
//!
//! A signal interrupts one thread after the other; its handler writes the stack into an existing
//! buffer. It takes no lock and allocates no memory. Names are looked up in another process,
//! because that needs both, and files that a confined process may not open. Limits: [`THREADS_MAX`]
//! threads, [`FRAMES_MAX`] frames of each; a thread that does not handle the signal within
//! [`PATIENCE`] has no stack here.

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fmt::Write;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, slice, thread};

/// Threads that are interrupted, at most: more than a core has.
const THREADS_MAX: usize = 256;

/// Frames of a thread, the innermost first.
const FRAMES_MAX: usize = 48;

/// How long a thread may take to be interrupted. One that waits for a disk in the kernel is not.
const PATIENCE: Duration = Duration::from_millis(100);

/// The signal; nothing else in this program uses it.
const SIGNAL: Signal = Signal::SIGUSR2;

/// The stack of a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// Its name.
    pub name: String,
    /// Its number.
    pub thread: i32,
    /// Addresses such as `+1f2a libc.so.6+91117`, the innermost first; empty when the thread did
    /// not answer.
    pub places: String,
}

/// The thread that is being interrupted, or one of the two constants below.
static ASKED: AtomicI32 = AtomicI32::new(NOBODY);
const NOBODY: i32 = 0;
const WALKING: i32 = -1;
const WALKED: i32 = -2;

static FRAMES: [AtomicUsize; FRAMES_MAX] = [const { AtomicUsize::new(0) }; FRAMES_MAX];
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// The stacks of all threads of this process. Interrupts each of them; for a process that hangs.
pub fn stacks() -> Vec<Stack> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let action =
        SigAction::new(SigHandler::Handler(interrupted), SaFlags::SA_RESTART, SigSet::all());
    // SAFETY: the handler does only what a handler may, see there.
    if unsafe { sigaction(SIGNAL, &action) }.is_err() {
        return Vec::new();
    }
    let objects = objects();
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let threads = tasks.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut stacks = Vec::new();
    for thread in threads.take(THREADS_MAX) {
        let name = fs::read_to_string(format!("/proc/self/task/{thread}/comm")).unwrap_or_default();
        let places = ask(thread).iter().map(|frame| place(&objects, *frame)).collect::<Vec<_>>();
        stacks.push(Stack { name: name.trim().to_owned(), thread, places: places.join(" ") });
    }
    stacks
}

/// Interrupts one thread and gives its stack.
fn ask(thread: i32) -> Vec<usize> {
    // A stack walk that began after its time limit and has not ended still uses the buffer.
    if ASKED.load(Ordering::Acquire) == WALKING {
        return Vec::new();
    }
    ASKED.store(thread, Ordering::Release);
    // SAFETY: plain numbers to the kernel. The thread is one of this process, or gone; then the
    // call fails.
    let sent =
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, SIGNAL as libc::c_int) };
    let end = Instant::now() + PATIENCE;
    while sent == 0 && ASKED.load(Ordering::Acquire) != WALKED && Instant::now() < end {
        thread::sleep(Duration::from_millis(1));
    }
    if ASKED.load(Ordering::Acquire) != WALKED {
        // Unless it begins at this very moment, it never will.
        let _ = ASKED.compare_exchange(thread, NOBODY, Ordering::AcqRel, Ordering::Acquire);
        return Vec::new();
    }
    let count = COUNT.load(Ordering::Acquire).min(FRAMES_MAX);
    let frames = FRAMES[..count].iter().map(|frame| frame.load(Ordering::Relaxed)).collect();
    ASKED.store(NOBODY, Ordering::Release);
    frames
}

/// The signal handler. It may interrupt anything, so it takes no lock and allocates no memory: it
/// reads its own thread number, and walks the stack by the tables that the compiler wrote.
extern "C" fn interrupted(_: libc::c_int) {
    let errno = Errno::last_raw();
    // SAFETY: asks the kernel for a number.
    let own = unsafe { libc::syscall(libc::SYS_gettid) };
    let own = i32::try_from(own).unwrap_or(NOBODY);
    let is_asked =
        ASKED.compare_exchange(own, WALKING, Ordering::AcqRel, Ordering::Acquire).is_ok();
    if is_asked && own != NOBODY {
        let mut count = 0;
        // SAFETY: the walk itself is one thread's at a time, by ASKED; the lock that the other form
        // takes is for looking up names, which nobody does in this process.
        unsafe {
            backtrace::trace_unsynchronized(|frame| {
                if let Some(place) = FRAMES.get(count) {
                    place.store(frame.ip() as usize, Ordering::Relaxed);
                    count += 1;
                }
                count < FRAMES_MAX
            });
        }
        COUNT.store(count, Ordering::Release);
        ASKED.store(WALKED, Ordering::Release);
    }
    Errno::set_raw(errno);
}

/// A loaded file, by its name without directories, which is empty for the program itself.
type Objects = BTreeMap<String, Object>;

#[derive(Debug, Clone, Copy)]
struct Object {
    base: usize,
    from: usize,
    to: usize,
}

fn objects() -> Objects {
    let mut objects = Objects::new();
    let data = std::ptr::from_mut(&mut objects).cast();
    // SAFETY: the callback has the signature that is asked for, is called before this returns, with
    // `data` as it is here, and does not unwind.
    unsafe { libc::dl_iterate_phdr(Some(note_object), data) };
    objects
}

unsafe extern "C" fn note_object(
    object: *mut libc::dl_phdr_info,
    _size: usize,
    data: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: `dl_iterate_phdr` hands over a description that is valid until this returns, and the
    // pointer that `objects` gave it.
    let (object, objects) = unsafe { (&*object, &mut *data.cast::<Objects>()) };
    // SAFETY: the name ends in a zero octet; there are as many program headers as it says.
    let (name, headers) = unsafe {
        (
            CStr::from_ptr(object.dlpi_name),
            slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()),
        )
    };
    let base = usize::try_from(object.dlpi_addr).unwrap_or_default();
    let loaded = headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
    let at = |offset: u64| base.wrapping_add(usize::try_from(offset).unwrap_or_default());
    let ends =
        loaded.map(|header| (at(header.p_vaddr), at(header.p_vaddr.wrapping_add(header.p_memsz))));
    let (from, to) =
        ends.fold((usize::MAX, 0), |(from, to), (start, end)| (from.min(start), to.max(end)));
    let name = name.to_string_lossy();
    let name = name.rsplit('/').next().unwrap_or_default().to_owned();
    objects.entry(name).or_insert(Object { base, from, to });
    0
}

fn place(objects: &Objects, frame: usize) -> String {
    let found = objects.iter().find(|(_, object)| (object.from..object.to).contains(&frame));
    match found {
        Some((name, object)) => format!("{name}+{:x}", frame.wrapping_sub(object.base)),
        None => "?".to_owned(),
    }
}

/// The functions of a stack, the innermost first, looked up in a process of the same program.
/// Allocates memory and reads files; not for a process that hangs.
pub fn words_of_stack(places: &str) -> String {
    let objects = objects();
    let mut names: Vec<String> = Vec::new();
    for place in places.split(' ').filter(|place| !place.is_empty()) {
        let known = names.len();
        let address = place.rsplit_once('+').and_then(|(object, offset)| {
            let base = objects.get(object)?.base;
            Some(base.wrapping_add(usize::from_str_radix(offset, 16).ok()?))
        });
        if let Some(address) = address {
            backtrace::resolve(address as *mut libc::c_void, |symbol| {
                names.extend(symbol.name().map(|name| format!("{name:#}")));
            });
        }
        if names.len() == known {
            names.push(place.to_owned());
        }
    }
    // The frames of the handler itself, and the kernel's frame below.
    let own =
        names.iter().take(FRAMES_MAX).rposition(|name| name.contains("sys::stacks::interrupted"));
    let rest = own.and_then(|own| names.get(own + 2..)).unwrap_or(&names);
    // The start of a thread is the same for all of them.
    let begin = rest.iter().position(|name| name.contains("__rust_begin_short_backtrace"));
    let rest = &rest[..begin.unwrap_or(rest.len())];
    let mut words = String::new();
    for name in rest {
        let separator = if words.is_empty() { "" } else { " < " };
        let _ = write!(words, "{separator}{name}");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[inline(never)]
    fn a_function_that_waits(end: &std::sync::mpsc::Receiver<()>) {
        let _ = end.recv();
        std::hint::black_box(());
    }

    #[test]
    fn a_thread_is_found_in_the_function_it_is_in() {
        let (stop, end) = channel();
        let waiting = thread::Builder::new().name("waits".to_owned());
        let waiting = waiting.spawn(move || a_function_that_waits(&end)).unwrap();
        thread::sleep(Duration::from_millis(50));
        let stacks = stacks();
        let stack = stacks.iter().find(|stack| stack.name == "waits").unwrap();
        let words = words_of_stack(&stack.places);
        assert!(words.contains("a_function_that_waits"), "{words}");
        assert!(!words.contains("interrupted"), "{words}");
        stop.send(()).unwrap();
        waiting.join().unwrap();
    }
}
