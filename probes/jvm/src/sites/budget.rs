//! How often Java's allocations may be sampled: so that it costs a small part of what the program itself computes, and never
//! more than so many times a second. A program that allocates very much for the little that it computes is sampled more rarely.
//!
//! Pure: is told what time it is, and how much processor time the process has used.

/// What HotSpot and the lock take for a draw. What a wanted one takes besides is measured: 4 µs in a program that allocates all
/// the time, and 20 in one that sleeps in between, whose caches have other things in them.
const DRAW_NANOS: u64 = 1_500;
/// Longer than that took the one that was interrupted.
const MOST_NANOS: u64 = 100_000;
/// All of them may cost this part of the process's processor time, or this part of the time, if that is more.
const PART_OF_CPU: u64 = 64;
const PART_OF_TIME: u64 = 256;
/// As long as that is counted before it is judged.
const WINDOW_NANOS: u64 = 2_000_000_000;
/// At more draws than that in a window, nobody waits for its end: 2,000 a second.
const MOST_DRAWN: u64 = 4_000;
/// With fewer, there may be twice as many.
const FEW_DRAWN: u64 = 1_000;
/// It draws up to so many times as often as is wanted.
pub(super) const MAX_SPREAD: u32 = 16;
/// Times that the mean doubles at once.
const MAX_DOUBLINGS: u32 = 6;

/// What was drawn lately.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// How many times as often as is wanted is drawn.
    pub(super) spread: u32,
    began: u64,
    cpu_began: u64,
    drawn: u64,
    /// What the wanted ones took, nanoseconds.
    wanted: u64,
}

impl Budget {
    pub(super) const fn new() -> Self {
        Self { spread: MAX_SPREAD, began: 0, cpu_began: 0, drawn: 0, wanted: 0 }
    }

    /// Counts a draw at `now`, nanoseconds of any clock. Gives how many times the mean is to double; `cpu`, the process's
    /// processor time, is asked for now and then.
    pub(super) fn drawn(&mut self, now: u64, cpu: impl FnOnce() -> u64) -> u32 {
        let mut doublings = 0;
        let elapsed = now.saturating_sub(self.began);
        let is_full = self.drawn >= MOST_DRAWN;
        if elapsed > WINDOW_NANOS || is_full {
            let cpu = cpu();
            if self.began > 0 {
                doublings = self.judge(elapsed, cpu.saturating_sub(self.cpu_began));
            }
            if is_full && doublings == 0 && elapsed <= WINDOW_NANOS {
                doublings = self.halve();
            }
            *self = Self { spread: self.spread, began: now, cpu_began: cpu, drawn: 0, wanted: 0 };
        }
        self.drawn += 1;
        doublings
    }

    /// The draw was wanted, and took so long.
    pub(super) fn wanted(&mut self, nanos: u64) {
        self.wanted += nanos.min(MOST_NANOS);
    }

    /// Half as many draws: of those that are not wanted, as long as there are any.
    fn halve(&mut self) -> u32 {
        if self.spread > 1 {
            self.spread /= 2;
            return 0;
        }
        1
    }

    fn judge(&mut self, elapsed: u64, cpu: u64) -> u32 {
        let most = (cpu / PART_OF_CPU).max(elapsed / PART_OF_TIME);
        let (mut draws, mut wanted) = (self.drawn * DRAW_NANOS, self.wanted);
        if 2 * (2 * draws + wanted) <= most && self.drawn < FEW_DRAWN {
            self.spread = (self.spread * 2).min(MAX_SPREAD);
            return 0;
        }
        let mut doublings = 0;
        while draws + wanted > most && doublings < MAX_DOUBLINGS {
            draws /= 2;
            // With one draw for each that is wanted, threads that begin their random numbers anew would be seen.
            if self.spread > 1 && 3 * draws > wanted {
                self.spread /= 2;
            } else {
                doublings += 1;
                wanted /= 2;
            }
        }
        doublings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = 1048576.0;
    const WANTED_NANOS: u64 = 4_000;

    /// A program that allocates so many bytes a second and uses so much of a core; draws a second, and the mean in KiB, after
    /// half a minute that begins with one of 64 KiB.
    fn run(bytes_per_second: f64, cores: f64) -> (f64, f64, f64) {
        let (mut budget, mut mean, mut now) = (Budget::new(), 65_536.0, 1_u64);
        let (mut drawn, mut begun, mut turn) = (0_u64, 0, 0_u64);
        while now < 30_000_000_000 {
            let interval = (mean / f64::from(budget.spread)).max(4096.0);
            now += (interval / bytes_per_second * 1e9) as u64;
            let doublings = budget.drawn(now, || (now as f64 * cores) as u64);
            mean *= f64::from(1 << doublings);
            turn += 1;
            if turn.is_multiple_of((mean / interval) as u64) {
                budget.wanted(WANTED_NANOS);
            }
            if now > 20_000_000_000 {
                (drawn, begun) = (drawn + 1, if begun == 0 { now } else { begun });
            }
        }
        let seconds = (now - begun) as f64 / 1e9;
        let cost = drawn as f64 / seconds * DRAW_NANOS as f64 / 1e9
            + bytes_per_second / mean * WANTED_NANOS as f64 / 1e9;
        (drawn as f64 / seconds, mean / 1024.0, cost)
    }

    #[track_caller]
    fn check(mib_per_second: f64, cores: f64, most_mean: f64) {
        let (draws, mean, cost) = run(mib_per_second * MIB, cores);
        let most = (cores / PART_OF_CPU as f64).max(1.0 / PART_OF_TIME as f64);
        assert!(draws <= 2_000.0 && cost <= 1.01 * most, "{draws} draws a second, {mean} KiB, {cost}");
        assert!(mean <= most_mean, "{mean} KiB");
    }

    #[test]
    fn a_program_that_allocates_little_keeps_its_mean() {
        check(5.0, 0.02, 64.0);
        check(5.0, 1.0, 64.0);
        check(50.0, 1.0, 64.0);
    }

    #[test]
    fn sampling_costs_a_small_part_of_what_the_program_computes() {
        check(1000.0, 1.0, 1024.0);
        check(1000.0, 0.1, 8192.0);
        check(20_000.0, 2.0, 16_384.0);
        check(100_000.0, 0.1, 1e9);
    }

    #[test]
    fn after_a_storm_it_draws_oftener_again() {
        let mut budget = Budget { spread: 1, ..Budget::new() };
        let mut now = 1;
        for _ in 0..1000 {
            now += 20_000_000;
            budget.drawn(now, || now);
        }
        assert_eq!(budget.spread, MAX_SPREAD);
    }
}
