//! Random schedules: peers, handlers, handles, time and faults all at once, with the rules checked after each step.
//!
//! `WHEELHOUSE_SCHEDULES` says how many to run (10,000), `WHEELHOUSE_SEED` where to begin (1). A failure prints the line
//! that plays its schedule alone.

mod check;
mod handlers;
mod world;

use std::time::Duration;

use bytes::Buf;
use wheelhouse::testing::{Dial, Faults, Peer, Simulation};
use wheelhouse::{Config, ConnectionId, Overload};

use self::world::{BY_HANDLE, BY_LOOP, World};
use crate::frames::{Frames, MAX, frame};

/// One connection's far end.
pub(crate) struct Far {
    peer: Peer,
    /// Where each frame ends in the stream.
    ends: Vec<usize>,
    /// Bytes of the stream that have been sent, and what of it is still to go.
    sent: usize,
    rest: Vec<u8>,
    /// Something that is no frame is among it.
    is_bad: bool,
    ended: bool,
    reset: bool,
    /// Whether it takes all that is written.
    is_open: bool,
    received: bytes::BytesMut,
}

pub(crate) struct Schedule {
    seed: u64,
    step: usize,
    rng: fastrand::Rng,
    sim: Simulation<Frames, World>,
    fars: Vec<Far>,
    most: usize,
    low: usize,
    cap: usize,
}

#[test]
fn everything_at_once_keeps_every_rule() {
    let number = |name: &str, default: u64| match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    };
    let first = number("WHEELHOUSE_SEED", 1);
    let schedules = number("WHEELHOUSE_SCHEDULES", 10_000);
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for seed in
                    (first..first + schedules).skip(thread as usize).step_by(threads as usize)
                {
                    Schedule::new(seed).play();
                }
            });
        }
    });
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let low = rng.usize(50..500);
        let high = low + rng.usize(1..1_000);
        let cap = high + rng.usize(0..4_000);
        let most = rng.usize(3..9);
        let inbox = rng.usize(1..8);
        let half_open = rng.u8(..) < 80;
        let mut config = Config::default()
            .max_connections(most)
            .accepts_per_turn(rng.usize(1..4))
            .read_budget(rng.usize(1..3_000))
            .packet_budget(rng.usize(1..12))
            .outbox(low, high, cap)
            .inbox(inbox)
            .handle_writes(rng.usize(1..6))
            .linger(Duration::from_millis(rng.u64(0..300)))
            .half_open(half_open);
        if rng.bool() {
            config = config.overload(Overload::Backlog);
        }
        if rng.u8(..) < 60 {
            config = config.max_queued_bytes(rng.usize(1_000..10_000));
        }
        let mut limit = || (rng.u8(..) < 80).then(|| Duration::from_millis(rng.u64(50..900)));
        config = config.packet_timeout(limit()).write_timeout(limit()).idle_timeout(limit());
        let faults = match rng.u8(..3) {
            0 => Faults::none(),
            1 => Faults::rough(),
            _ => Faults::hostile(),
        };
        let stateless = rng.bool();
        let world = World::new(rng.fork(), half_open, inbox);
        let sim = Simulation::builder(Frames { stateless })
            .config(config)
            .state(world)
            .seed(seed)
            .faults(faults)
            .start(World::on_accept);
        Self { seed, step: 0, rng, sim, fars: Vec::new(), most, low, cap }
    }

    fn play(mut self) {
        let steps = self.rng.usize(10..110);
        while self.step < steps && !self.sim.is_stopped() {
            self.act();
            let mut idle = None;
            match self.rng.u8(..3) {
                0 => idle = Some(self.sim.run_until_idle()),
                1 => drop(self.sim.turn()),
                _ => {}
            }
            self.look(idle);
            self.step += 1;
        }
        self.calm_down();
        self.finish();
    }

    fn act(&mut self) {
        match self.rng.u8(..40) {
            0..4 => {
                let peer = self.sim.connect();
                self.meet(peer);
            }
            4..18 => self.send(),
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
                if self.rng.bool() { self.sim.run_for(span) } else { self.sim.advance(span) }
            }
            30..32 => self.use_handle(),
            32..34 => self.with_connection(|world, conn| {
                let pause = world.rng.bool();
                world.pause(conn, pause);
            }),
            34 => self.with_connection(World::keep_handle),
            35 => self.with_connection(|world, conn| {
                if let Some(packet) = conn.read() {
                    world.hear(conn.id(), &packet);
                }
            }),
            36 => self.dial(),
            37 => self.with_connection(World::write),
            38 => self.sim.fail_accept(24, 1),
            _ => self.stop_perhaps(),
        }
        while let Some(peer) = self.sim.dialled() {
            self.meet(peer);
        }
    }

    fn meet(&mut self, peer: Peer) {
        self.fars.push(Far {
            peer,
            ends: Vec::new(),
            sent: 0,
            rest: Vec::new(),
            is_bad: false,
            ended: false,
            reset: false,
            is_open: true,
            received: bytes::BytesMut::new(),
        });
    }

    fn with_far(&mut self, work: impl FnOnce(&mut Far, &mut fastrand::Rng)) {
        if !self.fars.is_empty() {
            let at = self.rng.usize(..self.fars.len());
            work(&mut self.fars[at], &mut self.rng);
        }
    }

    fn with_connection(&mut self, work: impl FnOnce(&mut World, &mut world::Conn<'_>)) {
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

    /// Frames, whole or in part, several at once, and once in a while something else.
    fn send(&mut self) {
        self.with_far(|far, rng| {
            if far.ended {
                return;
            }
            let mut bytes = std::mem::take(&mut far.rest);
            for _ in 0..rng.usize(0..6) {
                let longest = if rng.u8(..) < 10 { MAX - 4 } else { 60 };
                let mut payload = u32::to_be_bytes(far.ends.len() as u32).to_vec();
                payload.resize(4 + rng.usize(..longest), b'-');
                bytes.extend(frame(&payload));
                far.ends.push(far.sent + bytes.len());
            }
            if rng.u8(..) < 3 {
                bytes.extend([255, 255, 0]); // a frame that is too long
                far.is_bad = true;
            }
            if rng.bool() {
                far.rest = bytes.split_off(rng.usize(..=bytes.len()));
            }
            far.sent += bytes.len();
            far.peer.send(&bytes);
        });
    }

    fn use_handle(&mut self) {
        let world = self.sim.state_mut();
        let holders: Vec<_> = world
            .models
            .iter()
            .filter_map(|(id, model)| Some((*id, model.handle.clone()?)))
            .collect();
        let Some((id, handle)) = world.rng.choice(holders) else { return };
        match world.rng.u8(..12) {
            0 => handle.close(),
            1 => {
                handle.abort();
                world.models.get_mut(&id).expect("a model").aborted = true;
            }
            2..6 => {
                while let Ok(packet) = handle.try_read() {
                    world.hear(id, &packet);
                }
            }
            _ => {
                let (number, packet) = world.packet(BY_HANDLE);
                if handle.try_write(packet).is_ok() {
                    let model = world.models.get_mut(&id).expect("a model");
                    model.owed[usize::from(BY_HANDLE)].push_back(number);
                }
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
        self.sim.plan_dial(dials[self.rng.usize(..dials.len())]);
        let (world, mut server) = self.sim.reactor().parts();
        world.connect(&mut server);
    }

    fn stop_perhaps(&mut self) {
        if self.rng.u8(..8) == 0 {
            let grace = Duration::from_millis(self.rng.u64(..3) * 300);
            self.sim.server().stop(grace);
        }
    }

    // The end.

    /// Whatever keeps things from going on is taken away: everything that can arrive, arrives.
    fn calm_down(&mut self) {
        self.sim.set_faults(Faults::none());
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
        self.sim.run_for(Duration::from_secs(1));
        while let Some(peer) = self.sim.dialled() {
            self.meet(peer);
        }
        let sleep = self.sim.run_until_idle();
        self.look(Some(sleep));
    }

    /// A stop ends it all, in its time.
    fn finish(&mut self) {
        self.sim.server().stop(Duration::from_millis(500));
        self.sim.run_for(Duration::from_millis(600));
        self.look(None);
        self.check_the_end();
    }
}

impl Far {
    fn end(&mut self) {
        if !self.ended {
            let rest = std::mem::take(&mut self.rest);
            self.sent += rest.len();
            self.peer.send(rest);
            self.ended = true;
            self.peer.end();
        }
    }

    fn open(&mut self) {
        self.is_open = true;
        self.peer.window(usize::MAX);
    }

    /// Whole frames sent.
    fn whole(&self) -> u32 {
        self.ends.partition_point(|end| *end <= self.sent) as u32
    }

    /// The numbers of the packets that have come, with who wrote them.
    fn numbers(&mut self) -> Vec<(u8, u32)> {
        self.received.extend_from_slice(&self.peer.take_received());
        let mut numbers = Vec::new();
        while let Some(header) = self.received.first_chunk() {
            let length = usize::from(u16::from_be_bytes(*header));
            if self.received.len() < 2 + length {
                break;
            }
            self.received.advance(2);
            let mut packet = self.received.split_to(length);
            numbers.push((packet.get_u8(), packet.get_u32()));
        }
        numbers
    }
}

const _: () = assert!(BY_LOOP == 0 && BY_HANDLE == 1, "they index what is owed");
