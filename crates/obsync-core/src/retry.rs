//! When to try again: the one policy for everything that goes over a network.

use std::time::Duration;

use crate::remote::RemoteError;

/// How often and how patiently to try.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Tries in all.
    pub tries: u32,
    /// The pause after the first failure. It doubles with each further one.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { tries: 5, first_pause: Duration::from_millis(500), longest_pause: Duration::from_secs(30) }
    }
}

impl RetryPolicy {
    /// The pause after `failures` failures in a row (1 or more), or `None` when it is time to give up. Between half
    /// and the whole of the doubled pause, at random, so that many clients do not come back at one moment.
    pub fn pause(&self, failures: u32) -> Option<Duration> {
        if failures >= self.tries {
            return None;
        }
        let doubled = self.first_pause.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(self.longest_pause);
        Some(doubled.mul_f64(0.5 + fastrand::f64() / 2.0))
    }

    /// Begins a series of tries.
    pub fn begin(self) -> Tries {
        Tries { policy: self, failures: 0 }
    }
}

/// A series of tries at one thing.
#[derive(Debug)]
pub struct Tries {
    policy: RetryPolicy,
    failures: u32,
}

impl Tries {
    /// Waits for the next try after `error`.
    ///
    /// # Errors
    /// `error` itself, where it is for good or the tries are used up.
    pub async fn pause_after(&mut self, error: RemoteError) -> Result<(), RemoteError> {
        self.failures += 1;
        match self.policy.pause(self.failures) {
            Some(pause) if error.is_transient() => {
                tracing::debug!(%error, failures = self.failures, "trying again in {pause:?}");
                tokio::time::sleep(pause).await;
                Ok(())
            }
            _ => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::RemoteErrorKind;

    #[test]
    fn pauses_double_up_to_the_longest_and_end() {
        let policy =
            RetryPolicy { tries: 5, first_pause: Duration::from_secs(1), longest_pause: Duration::from_secs(3) };
        for (failures, least, most) in [(1, 0.5, 1.0), (2, 1.0, 2.0), (3, 1.5, 3.0), (4, 1.5, 3.0)] {
            let pause = policy.pause(failures).unwrap().as_secs_f64();
            assert!((least..=most).contains(&pause), "{failures}: {pause}");
        }
        assert_eq!(policy.pause(5), None);
    }

    #[tokio::test(start_paused = true)]
    async fn only_transient_faults_are_tried_again() {
        for (kind, pauses) in [(RemoteErrorKind::Unreachable, 4), (RemoteErrorKind::Authentication, 0)] {
            let mut tries = RetryPolicy::default().begin();
            let mut count = 0;
            while tries.pause_after(RemoteError::new(kind, "no")).await.is_ok() {
                count += 1;
            }
            assert_eq!(count, pauses);
        }
    }
}
