//! When and how the server ends, in a reproducible order.

use std::path::Path;

use comity::crash::Point;

/// Numbers that look random and come again with the same seed.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// An end at a named moment: at which passing, and so many microseconds later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) point: Point,
    pub(crate) passing: u64,
    pub(crate) micros: u64,
}

impl Moment {
    /// What the server is told in its environment; passings count from when `file` exists.
    pub(crate) fn variable(self, file: Option<&Path>) -> String {
        let Self { point, passing, micros } = self;
        let file = file.map(|file| format!(":{}", file.display())).unwrap_or_default();
        format!("{point:?}:{passing}:{micros}{file}")
    }
}

/// How the server ends while messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// SIGKILL.
    Killed,
    /// SIGTERM.
    Stopped,
    /// At a moment of its own work.
    At(Moment),
}

/// One cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) end: End,
    /// It ends a second time, when it has been started again.
    pub(crate) again: Option<Moment>,
    /// So many acknowledged stanzas, and so many microseconds later, the signal comes.
    pub(crate) stanzas: usize,
    pub(crate) micros: u64,
}

/// What the cycles are: of ten, five are killed, four end at a named moment, one is stopped.
#[derive(Debug)]
pub(crate) struct Plans {
    random: Random,
    cycle: usize,
    next: usize,
    points: Vec<(Point, bool)>,
}

/// Acknowledged stanzas in each cycle.
pub(crate) const LEAST: usize = 150;

impl Plans {
    /// The moments, in this order from the one with the number `first`. Messages get old only where there is an archive.
    pub(crate) fn new(seed: u64, first: usize, archive: bool) -> Self {
        // The second one is whether it comes when the server has been started again.
        let mut points = vec![
            (Point::Commit, false),
            (Point::Committed, false),
            (Point::Checkpoint, false),
            (Point::Detach, false),
            (Point::Resume, false),
            (Point::Settle, false),
            (Point::Requeue, true),
            (Point::Resume, true),
        ];
        if archive {
            points.push((Point::Retention, true));
        }
        points.rotate_left(first);
        // For whoever looks for the reason of something: this moment alone.
        if let Ok(only) = std::env::var("MOMENT") {
            points.retain(|(point, _)| format!("{point:?}") == only);
        }
        Self { random: Random::new(seed), cycle: 0, next: 0, points }
    }

    /// The moments that are asked for, each once.
    pub(crate) fn moments(&self) -> &[(Point, bool)] {
        &self.points
    }

    pub(crate) fn next(&mut self) -> Plan {
        let kind = self.cycle % 10;
        self.cycle += 1;
        let plain = Plan {
            end: End::Killed,
            again: None,
            stanzas: LEAST + usize::try_from(self.random.below(200)).unwrap(),
            micros: self.random.below(6000),
        };
        match kind {
            _ if std::env::var_os("MOMENT").is_some() => self.at(plain),
            1 | 3 | 5 | 7 => self.at(plain),
            9 => Plan { end: End::Stopped, ..plain },
            _ => plain,
        }
    }

    fn at(&mut self, plain: Plan) -> Plan {
        let (point, again) = self.points[self.next % self.points.len()];
        self.next += 1;
        let random = &mut self.random;
        // How often the point is passed at most before that, and how long what follows it takes about.
        let (passings, length) = match (point, again) {
            (Point::Commit, _) => (20, 1500),
            (Point::Committed, _) => (20, 300),
            (Point::Checkpoint, _) => (2, 3000),
            (Point::Detach, _) => (4, 300),
            (Point::Resume, false) => (8, 500),
            (Point::Resume, true) => (14, 500),
            (Point::Settle, _) => (2, 1000),
            (Point::Requeue, _) => (2, 500),
            (Point::Retention, _) => (1, 3000),
        };
        let passing = 1 + random.below(passings);
        let micros = if random.below(2) == 0 { 0 } else { random.below(length) };
        let moment = Moment { point, passing, micros };
        if again { Plan { again: Some(moment), ..plain } } else { Plan { end: End::At(moment), ..plain } }
    }
}
