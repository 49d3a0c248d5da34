//! Tests: locks are taken in one order.

use super::lock::{Level, Lock};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Takes one lock after the other, while the first is held.
fn both(first: Level, second: Level) -> Result<(), String> {
    let (first, second) = (Lock::new(first, ()), Lock::new(second, ()));
    let taken = catch_unwind(AssertUnwindSafe(|| {
        let _first = first.lock();
        let _second = second.lock();
    }));
    taken.map_err(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default())
}

#[test]
fn locks_are_taken_in_rising_order_only() {
    assert_eq!(both(Level::Outer, Level::Leaf), Ok(()));
    assert_eq!(both(Level::Leaf, Level::Log), Ok(()));
    for (first, second) in
        [(Level::Leaf, Level::Outer), (Level::Leaf, Level::Leaf), (Level::Log, Level::Leaf)]
    {
        let said = both(first, second).unwrap_err();
        assert!(
            said.contains(&format!("{second:?}")) && said.contains(&format!("[{first:?}]")),
            "{said}"
        );
    }
    // The locks of a step that panicked are released.
    assert_eq!(both(Level::Outer, Level::Index), Ok(()));
}

#[test]
fn a_lock_can_be_freed_before_one_that_was_taken_earlier() {
    let (outer, leaf) = (Lock::new(Level::Outer, 1), Lock::leaf(2));
    let outside = outer.lock();
    let inside = leaf.lock();
    drop(outside);
    assert!(catch_unwind(AssertUnwindSafe(|| *outer.lock())).is_err(), "the leaf is still held");
    drop(inside);
    let _both = (outer.lock(), leaf.lock());
}
