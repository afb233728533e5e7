//! In which order racers take their steps: every order with few switches, or random ones.

/// One order, chosen step by step. Dropped by a panic, it says what it was.
#[derive(Debug)]
pub(crate) struct Order {
    choice: Choice,
    taken: Vec<&'static str>,
}

#[derive(Debug)]
enum Choice {
    /// As given, then the first of what is possible. `widths`: how much was possible each time.
    Given {
        given: Vec<usize>,
        widths: Vec<usize>,
        switches: usize,
    },
    Random {
        seed: u64,
        random: fastrand::Rng,
    },
}

impl Order {
    fn given(given: Vec<usize>, switches: usize) -> Self {
        Self { choice: Choice::Given { given, widths: Vec::new(), switches }, taken: Vec::new() }
    }

    fn random(seed: u64) -> Self {
        Self { choice: Choice::Random { seed, random: fastrand::Rng::with_seed(seed) }, taken: Vec::new() }
    }

    /// Whose step is next, of those that are `able` to take one, `last` being who took the one before.
    pub(crate) fn next(&mut self, able: &[usize], last: Option<usize>, names: &[&'static str]) -> usize {
        let next = match &mut self.choice {
            Choice::Random { random, .. } => able[random.usize(..able.len())],
            Choice::Given { given, widths, switches } => {
                let going_on = last.filter(|last| able.contains(last));
                // Who can go on does so, or is interrupted as long as there are switches left.
                let others =
                    able.iter().copied().filter(|one| Some(*one) != going_on && (going_on.is_none() || *switches > 0));
                let possible: Vec<usize> = going_on.into_iter().chain(others).collect();
                let number = given.get(widths.len()).copied().unwrap_or(0);
                widths.push(possible.len());
                *switches -= usize::from(going_on.is_some() && number > 0);
                if widths.len() > given.len() {
                    given.push(number);
                }
                possible[number]
            }
        };
        self.taken.push(names[next]);
        next
    }

    /// The choices that lead to the order after this one.
    fn following(&mut self) -> Option<Vec<usize>> {
        let Choice::Given { given, widths, .. } = &mut self.choice else { return None };
        while let (Some(number), Some(width)) = (given.pop(), widths.pop()) {
            if number + 1 < width {
                given.push(number + 1);
                return Some(std::mem::take(given));
            }
        }
        None
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = match &self.choice {
                Choice::Given { .. } => String::new(),
                Choice::Random { seed, .. } => format!("; again: OBSYNC_RACE_SEED={seed}"),
            };
            println!("the order of steps was: {}{seed}", self.taken.join(", "));
        }
    }
}

/// Plays every order in which nobody who could go on is interrupted more than `switches` times in all; how many.
pub(crate) fn every(switches: usize, mut play: impl FnMut(&mut Order)) -> u64 {
    let (mut next, mut count) = (Some(Vec::new()), 0);
    while let Some(given) = next {
        let mut order = Order::given(given, switches);
        play(&mut order);
        next = order.following();
        count += 1;
    }
    count
}

/// Plays so many random orders, or as many as `OBSYNC_RACE_ORDERS` says, or the one of `OBSYNC_RACE_SEED`.
pub(crate) fn at_random(count: u64, play: impl Fn(&mut Order)) {
    let seed = number("OBSYNC_RACE_SEED");
    let count = if seed.is_some() { 1 } else { number("OBSYNC_RACE_ORDERS").unwrap_or(count) };
    let first = seed.unwrap_or(1);
    for seed in first..first + count {
        play(&mut Order::random(seed));
    }
}

/// What a variable of the environment says.
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value:?} is no number")))
}

#[test]
fn every_order_with_few_switches_comes_once() {
    let orders = |switches| {
        let mut orders = Vec::new();
        every(switches, |order| {
            let (mut left, mut last) = ([2, 2], None);
            while left != [0, 0] {
                let able: Vec<usize> = (0..2).filter(|n| left[*n] > 0).collect();
                let next = order.next(&able, last, &["a", "b"]);
                left[next] -= 1;
                last = Some(next);
            }
            orders.push(order.taken.concat());
        });
        orders.sort();
        orders
    };
    assert_eq!(orders(0), ["aabb", "bbaa"]);
    assert_eq!(orders(1), ["aabb", "abba", "baab", "bbaa"]);
    assert_eq!(orders(9), ["aabb", "abab", "abba", "baab", "baba", "bbaa"]);
}
