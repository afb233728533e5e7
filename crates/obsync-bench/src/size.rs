//! How much of everything: the sizes of the issue, smaller ones to try the program, larger ones for who has an hour.

use std::time::Duration;

use crate::Result;

/// The sizes of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// What to call it.
    pub(crate) name: &'static str,
    /// What is short is measured so often, and the least counts: what else a machine does only ever adds.
    pub(crate) tries: usize,
    /// The most notes of a first mirror.
    pub(crate) notes: u64,
    /// The longest bound of a first mirror: where latency would take longer, there are fewer notes.
    pub(crate) longest: Duration,
    /// Bytes of the large file.
    pub(crate) file: u64,
    /// Records of the listings.
    pub(crate) listings: [u64; 2],
    /// Files of the large vault.
    pub(crate) vault: u64,
    /// Starts of the function that the median is taken of.
    pub(crate) starts: usize,
    /// Notes that the official client fetches, some 19 a second.
    pub(crate) official: u64,
}

impl Size {
    pub(crate) fn usual() -> Self {
        Self {
            name: "usual",
            tries: 3,
            notes: 10_000,
            longest: Duration::from_secs(20),
            file: 190 << 20,
            listings: [100_000, 1_000_000],
            vault: 100_000,
            starts: 20,
            official: 400,
        }
    }

    pub(crate) fn full() -> Self {
        Self { name: "full", longest: Duration::MAX, official: 10_000, ..Self::usual() }
    }

    pub(crate) fn quick() -> Self {
        Self {
            name: "quick",
            tries: 1,
            notes: 1_000,
            longest: Duration::from_millis(800),
            file: 24 << 20,
            listings: [10_000, 100_000],
            vault: 2_000,
            starts: 5,
            official: 20,
        }
    }

    /// The least of [`tries`](Self::tries) measurements.
    pub(crate) fn least<T: PartialOrd>(&self, mut measure: impl FnMut() -> Result<T>) -> Result<T> {
        let mut least = measure()?;
        for _ in 1..self.tries {
            let again = measure()?;
            if again < least {
                least = again;
            }
        }
        Ok(least)
    }

    /// Notes of a first mirror with so much latency over so many connections.
    pub(crate) fn notes(&self, latency: Duration, connections: u64) -> u64 {
        if latency.is_zero() {
            return self.notes;
        }
        let fit = self.longest.as_secs_f64() * connections as f64 / latency.as_secs_f64();
        self.notes.min(fit as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bound_of_a_first_mirror_is_longer_than_was_said() {
        let ms = Duration::from_millis;
        let notes = |latency, connections| Size::usual().notes(ms(latency), connections);
        assert_eq!(
            [notes(0, 1), notes(20, 1), notes(20, 4), notes(20, 16), notes(80, 4)],
            [10_000, 1_000, 4_000, 10_000, 1_000]
        );
        assert_eq!(Size::full().notes(ms(80), 1), 10_000);
    }
}
