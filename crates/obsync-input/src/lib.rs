//! What people and schedulers hand to obsync, as data: read here, and acted on elsewhere.
//!
//! Nothing in this crate does anything. It knows neither AWS nor the engine, so that what reads texts from outside can be
//! built, and tried with arbitrary ones, by itself.
//!
//! | module | what it is |
//! |---|---|
//! | [`envelope`] | how an event of the Lambda function arrives |
//! | [`request`] | what an event asks for |
//! | [`stored`] | the configuration file, or the function's secret |

pub mod envelope;
pub mod request;
pub mod stored;

pub use envelope::Envelope;
pub use request::{Action, Refused, Request, SyncType};
pub use stored::{NotOfForm, Stored};
