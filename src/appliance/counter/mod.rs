//! Counters of the modules.
//!
//! Purpose: each module declares its own counters with [`counters!`](crate::counters), by name,
//! help and type, and increments them; they are registered in one [`Registry`], so that the class
//! description (`appliance/mta.toml`), `/metrics` and the pushes to terminal `mon` have the same
//! ones. Limits: label values come from closed lists, so the number of series is fixed at start.
//! Source: group `MTA` of the founding document; text format of Prometheus.

mod metric;
mod registry;

pub use metric::{Declaration, Labels, Metric, OptionalGauge, SharedCounter};
pub use prometheus::{
    Error, Histogram, IntCounter as Counter, IntCounterVec as CounterVec, IntGauge as Gauge,
    IntGaugeVec as GaugeVec,
};
pub use registry::Registry;

/// Declares the counters of a module: a struct with one public field for each, and its `register`.
///
/// A row is `field: Type = "help", shape;`. The metric's name is the field's with `mta_` before it.
/// The shape is [`Labels`] for types with labels, and the bounds for a histogram. A row that begins
/// `field was "old_name": Type` shows the metric under its old name too, until the next release.
#[macro_export]
macro_rules! counters {
    (
        $(#[$about:meta])*
        pub struct $name:ident {
            $($field:ident $(was $former:literal)?: $kind:ty = $help:literal $(, $shape:expr)?;)+
        }
    ) => {
        $(#[$about])*
        pub struct $name {
            $(#[doc = $help] pub $field: $kind,)+
        }

        impl $name {
            /// Registers all of them at zero.
            ///
            /// # Errors
            /// Two counters of one name: a defect, found by the first test.
            pub fn register(
                registry: &$crate::appliance::counter::Registry,
            ) -> Result<Self, $crate::appliance::counter::Error> {
                Ok(Self {
                    $($field: <$kind as $crate::appliance::counter::Metric>::register(
                        registry,
                        $crate::appliance::counter::Declaration {
                            name: concat!("mta_", stringify!($field)),
                            former: None$(.or(Some($former)))?,
                            help: $help,
                        },
                        ($($shape)?),
                    )?,)+
                })
            }

            /// In a registry of their own, which is not exported.
            ///
            /// # Errors
            /// As [`Self::register`].
            pub fn alone() -> Result<std::sync::Arc<Self>, $crate::appliance::counter::Error> {
                let registry = $crate::appliance::counter::Registry::default();
                Self::register(&registry).map(std::sync::Arc::new)
            }
        }
    };
}
