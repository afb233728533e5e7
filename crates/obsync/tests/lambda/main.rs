//! The Lambda function from outside: the real `bootstrap`, driven by a Runtime API of ours with true deadlines, against
//! an emulated service, S3 and DynamoDB.

#![allow(clippy::unwrap_used)]

mod events;
mod fixture;
mod moto;
mod runtime;
mod secrets;
