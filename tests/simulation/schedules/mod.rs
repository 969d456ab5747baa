//! Random schedules: peers, handlers, handles, time and faults all at once, with the rules checked after each step.
//!
//! `WHEELHOUSE_SCHEDULES` says how many to run (10,000), `WHEELHOUSE_SEED` where to begin (1). A failure prints the line
//! that plays its schedule alone. Every other schedule has a protocol that speaks for itself.
//!
//! The same schedules, with choices that a fuzzer made in the place of a seed's, are the fuzz target `reactor`, which
//! includes this module; what it found is played again by [`found`]. One that fails in `shrunk` is made small.

mod check;
mod choices;
mod deadlines;
mod far;
#[cfg(test)]
mod found;
mod handlers;
mod settings;
#[cfg(test)]
mod shrunk;
mod timing;
mod turns;
mod wire;
mod world;

use std::fmt;
use std::net::SocketAddr;
#[cfg(test)]
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use wheelhouse::ConnectionId;
use wheelhouse::testing::{Dial, Faults, Simulation};

use self::choices::Choices;
use self::far::Far;
use self::settings::Settings;
use self::wire::Wire;
use self::world::{BY_HANDLE, BY_LOOP, Conn, World};

/// A schedule as somebody else chose it.
#[derive(Clone)]
pub(crate) struct Script {
    /// Whether the protocol speaks for itself.
    pub(crate) speaks: bool,
    /// What the network's faults are drawn from.
    pub(crate) seed: u64,
    pub(crate) settings: Vec<u8>,
    /// What the handlers do.
    pub(crate) inside: Vec<u8>,
    pub(crate) steps: Vec<[u8; STEP]>,
}

/// Bytes that one step's choices may take.
pub(crate) const STEP: usize = 12;

/// Steps of a script that are played, at most.
const MOST_STEPS: usize = 256;

impl Script {
    /// Plays it.
    ///
    /// # Panics
    ///
    /// When a rule is broken.
    pub(crate) fn play(self) {
        if self.speaks {
            Schedule::<true>::given(self).play();
        } else {
            Schedule::<false>::given(self).play();
        }
    }

    /// Plays it, and says what is wrong without a word on the standard error.
    #[cfg(test)]
    fn try_play(self) -> Result<(), String> {
        let quietly = || match self.speaks {
            true => Schedule::<true>::given(self).quiet().play(),
            false => Schedule::<false>::given(self).quiet().play(),
        };
        catch_unwind(AssertUnwindSafe(quietly)).map_err(|panic| {
            panic.downcast::<String>().map_or_else(|_| "a panic".into(), |wrong| *wrong)
        })
    }
}

/// As it can stand in a source.
impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { speaks, seed, settings, inside, steps } = self;
        // Bytes that are spent are as good as zeros.
        let spent = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        let settings = &settings[..spent(settings)];
        let inside = &inside[..spent(inside)];
        write!(f, "Script {{ speaks: {speaks}, seed: {seed}, settings: vec!{settings:?}, ")?;
        write!(f, "inside: vec!{inside:?}, steps: vec!{steps:?} }}")
    }
}

/// How many steps there are, and how they are chosen.
enum Steps {
    Count(usize),
    Given(std::vec::IntoIter<[u8; STEP]>),
}

pub(crate) struct Schedule<const SPEAKS: bool> {
    /// How to play it again.
    again: String,
    /// A rule that is broken is told to the caller alone.
    quiet: bool,
    step: usize,
    steps: Steps,
    rng: Choices,
    sim: Simulation<Wire<SPEAKS>, World<SPEAKS>>,
    fars: Vec<Far>,
    settings: Settings,
    /// Turns in a row that had nothing to do.
    idle_turns: usize,
    /// When a stop that has begun is over at the latest.
    stops_by: Option<Instant>,
    next_port: u16,
    next_command: u64,
}

/// A number from the environment.
#[cfg(test)]
fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}

#[test]
fn everything_at_once_keeps_every_rule() {
    let first = number("WHEELHOUSE_SEED", 1);
    let schedules = number("WHEELHOUSE_SCHEDULES", 10_000);
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for seed in
                    (first..first + schedules).skip(thread as usize).step_by(threads as usize)
                {
                    if seed % 2 == 0 {
                        Schedule::<true>::seeded(seed).play();
                    } else {
                        Schedule::<false>::seeded(seed).play();
                    }
                }
            });
        }
    });
}

impl<const SPEAKS: bool> Schedule<SPEAKS> {
    #[cfg(test)]
    fn seeded(seed: u64) -> Self {
        let again = format!(
            "WHEELHOUSE_SEED={seed} WHEELHOUSE_SCHEDULES=1 \
             cargo test --test simulation schedules"
        );
        let mut rng = Choices::seeded(seed);
        let steps = Steps::Count(rng.usize(10..110));
        let inside = Choices::seeded(rng.u64(0..u64::MAX));
        let mut settings = Choices::seeded(rng.u64(0..u64::MAX));
        Self::new(again, seed, &mut settings, inside, rng, steps)
    }

    #[cfg(test)]
    fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    fn given(script: Script) -> Self {
        let again = format!("{script:?}.play();");
        let Script { seed, settings, inside, mut steps, .. } = script;
        steps.truncate(MOST_STEPS);
        let steps = Steps::Given(steps.into_iter());
        let inside = Choices::given(inside);
        let mut settings = Choices::given(settings);
        Self::new(again, seed, &mut settings, inside, Choices::given([]), steps)
    }

    fn new(
        again: String,
        seed: u64,
        settings: &mut Choices,
        inside: Choices,
        rng: Choices,
        steps: Steps,
    ) -> Self {
        let settings = Settings::choose(settings);
        let sim = Simulation::builder(Wire::new(settings.stateless))
            .config(settings.config())
            .state(World::new(inside, settings.half_open, settings.inbox))
            .seed(seed)
            .faults(settings.faults)
            .start(World::on_accept);
        Self {
            again,
            quiet: false,
            step: 0,
            steps,
            rng,
            sim,
            fars: Vec::new(),
            settings,
            idle_turns: 0,
            stops_by: None,
            next_port: 0,
            next_command: 0,
        }
    }

    fn play(mut self) {
        while self.begins_step() && !self.sim.is_stopped() {
            self.act();
            let mut idle = None;
            match self.rng.usize(0..3) {
                0 => idle = Some(self.run_until_idle()),
                1 => drop(self.turn()),
                _ => {}
            }
            self.look(idle);
            self.step += 1;
        }
        self.calm_down();
        self.finish();
    }

    fn begins_step(&mut self) -> bool {
        match &mut self.steps {
            Steps::Count(count) => self.step < *count,
            Steps::Given(steps) => {
                let Some(choices) = steps.next() else { return false };
                self.rng = Choices::given(choices);
                true
            }
        }
    }

    fn act(&mut self) {
        match self.rng.usize(0..44) {
            0..4 => self.connect(),
            4..18 => self.with_far(|far, rng| far.send(rng, SPEAKS)),
            18 => self.with_far(|far, _| far.end()),
            19 => self.with_far(|far, rng| {
                if rng.bool() {
                    far.reset = true;
                    far.peer.reset();
                }
            }),
            20..24 => self.with_far(|far, rng| {
                far.is_open = false;
                far.peer.window(rng.usize(0..300));
            }),
            24 => self.with_far(|far, _| far.open()),
            25..30 => {
                let span = Duration::from_micros(self.rng.u64(0..150_000));
                if self.rng.bool() { self.run_for(span) } else { self.sim.advance(span) }
            }
            30..32 => self.use_handle(),
            32..34 => {
                let pause = self.rng.bool();
                self.with_connection(|world, conn| world.pause(conn, pause));
            }
            34 => self.with_connection(World::keep_handle),
            35 => self.with_connection(|world, conn| {
                if let Some(packet) = conn.read() {
                    world.hear(conn.id(), &packet);
                }
            }),
            36 => self.dial(),
            37 => self.with_connection(World::write),
            38 => self.sim.fail_accept(24, 1),
            39..42 => self.command(),
            42 => self.sim.fail_register(1),
            _ => self.stop_perhaps(),
        }
        while let Some(peer) = self.sim.dialled() {
            self.fars.push(Far::new(peer));
        }
    }

    /// One of a few addresses connects.
    fn connect(&mut self) {
        self.next_port += 1;
        let host = self.rng.usize(1..4) as u8;
        let peer = self.sim.connect_from(SocketAddr::from(([127, 0, 0, host], self.next_port)));
        self.fars.push(Far::new(peer));
    }

    fn with_far(&mut self, work: impl FnOnce(&mut Far, &mut Choices)) {
        if !self.fars.is_empty() {
            let at = self.rng.usize(0..self.fars.len());
            work(&mut self.fars[at], &mut self.rng);
        }
    }

    fn with_connection(&mut self, work: impl FnOnce(&mut World<SPEAKS>, &mut Conn<'_, SPEAKS>)) {
        let ids = self.live();
        let Some(id) = self.rng.choice(ids) else { return };
        let (world, mut server) = self.sim.reactor().parts();
        if let Some(mut conn) = server.connection(id) {
            work(world, &mut conn);
        }
    }

    fn live(&self) -> Vec<ConnectionId> {
        let models = self.sim.state().models.iter();
        models.filter(|(_, model)| model.closed.is_none()).map(|(id, _)| *id).collect()
    }

    fn use_handle(&mut self) {
        let world = self.sim.state_mut();
        let holders: Vec<_> = world
            .models
            .iter()
            .filter_map(|(id, model)| Some((*id, model.handle.clone()?)))
            .collect();
        let Some((id, handle)) = self.rng.choice(holders) else { return };
        match self.rng.usize(0..12) {
            0 => {
                handle.close();
                world.model(id).is_curt = true;
            }
            1 => {
                handle.abort();
                world.model(id).aborted = true;
            }
            2..6 => {
                let mut waited = 0;
                while let Ok(packet) = handle.try_read() {
                    world.hear(id, &packet);
                    waited += 1;
                }
                let limit = world.inbox;
                world.check(waited <= limit, || format!("{id}: {waited} packets in the inbox"));
            }
            _ => {
                for _ in 0..self.rng.usize(1..8) {
                    let (number, packet) = world.packet(BY_HANDLE);
                    if handle.try_write(packet).is_ok() {
                        world.model(id).owed[usize::from(BY_HANDLE)].push_back(number);
                        *world.handed.entry(id).or_default() += 1;
                    }
                }
            }
        }
    }

    /// Another thread's work, as much as there is room for.
    fn command(&mut self) {
        for _ in 0..self.rng.usize(1..8) {
            let number = self.next_command;
            self.next_command += 1;
            let handle = self.sim.server().handle();
            if handle.try_run(move |world, server| world.command(number, server)).is_ok() {
                self.sim.state_mut().commands.push_back(number);
            }
        }
    }

    fn dial(&mut self) {
        let dials = [
            Dial::Accept,
            Dial::Accept,
            Dial::Refuse,
            Dial::Hang,
            Dial::Fail(std::io::ErrorKind::AddrNotAvailable),
        ];
        self.sim.plan_dial(dials[self.rng.usize(0..dials.len())]);
        let (world, mut server) = self.sim.reactor().parts();
        world.connect(&mut server);
    }

    fn stop_perhaps(&mut self) {
        if !self.rng.chance(32) {
            return;
        }
        let grace = Duration::from_millis(self.rng.u64(0..3) * 300);
        self.sim.state_mut().note_stop(grace);
        if self.rng.bool() {
            self.sim.server().handle().request_stop(grace);
        } else {
            self.sim.server().stop(grace);
        }
    }

    // The end.

    /// Whatever keeps things from going on is taken away: everything that can arrive, arrives.
    fn calm_down(&mut self) {
        self.settings.faults = Faults::none();
        self.sim.set_faults(self.settings.faults);
        self.sim.state_mut().may_stop = false;
        for id in self.live() {
            let (world, mut server) = self.sim.reactor().parts();
            if let Some(mut conn) = server.connection(id) {
                world.pause(&mut conn, false);
            }
        }
        for far in &mut self.fars {
            far.open();
            far.end();
        }
        self.run_for(Duration::from_secs(1));
        while let Some(peer) = self.sim.dialled() {
            self.fars.push(Far::new(peer));
        }
        let sleep = self.run_until_idle();
        self.look(Some(sleep));
    }

    /// A stop ends it all, in its time.
    fn finish(&mut self) {
        let grace = Duration::from_millis(500);
        self.sim.state_mut().note_stop(grace);
        self.sim.server().stop(grace);
        self.run_for(Duration::from_millis(600));
        self.look(None);
        self.check_the_end();
    }
}

const _: () = assert!(BY_LOOP == 0 && BY_HANDLE == 1, "they index what is owed");
