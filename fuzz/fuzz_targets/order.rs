#![no_main]
//! No order panics, and a parsed filter contains only given conditions.

use libfuzzer_sys::fuzz_target;
use postern::api::{FilterView, OrderView};

fuzz_target!(|content: &[u8]| {
    if let Ok(order) = serde_json::from_slice::<OrderView>(content) {
        let text = serde_json::to_vec(&order).unwrap();
        assert_eq!(
            serde_json::from_slice::<OrderView>(&text).unwrap(),
            order,
            "an order reads \
        back as itself"
        );
    }
    if let Ok(view) = serde_json::from_slice::<FilterView>(content)
        && let Ok(filter) = view.filter()
    {
        let asked = view.conditions().iter().any(|(_, text)| !text.trim().is_empty());
        assert!(asked || filter.is_empty(), "{filter}");
        let _ = filter.ids();
    }
});
