//! How much memory `examples/proxy.rs` takes while it joins a fast sender to a slow reader. Run by `proxy_memory.sh`, which
//! builds the proxy first.
//!
//! It sends a numbered stream, checks every number at the other end, and reads the proxy's peak from `/proc`, so it runs on
//! Linux alone.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Sends a stream through the proxy to a slow reader, and watches the proxy's memory.
#[derive(Parser)]
struct Args {
    /// Size of the stream
    #[arg(long, default_value = "128", value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..))]
    mib: u64,

    /// How fast the reader reads
    #[arg(long, default_value = "10", value_name = "MB/S", value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,

    /// The peak that is too much
    #[arg(long, default_value = "16", value_name = "MIB")]
    limit: u64,

    /// What `cargo bench` says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match measure(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("proxy_memory: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Ends the proxy with this process.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        // It fails where the proxy has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Says whether the peak stayed under the limit.
fn measure(args: &Args) -> Outcome<bool> {
    let sink = TcpListener::bind("127.0.0.1:0")?;
    let (proxy, address) = start_proxy(&sink.local_addr()?.to_string())?;
    let mut source = TcpStream::connect(address)?;
    let idle = kib(&proxy, "VmRSS:")?;
    let words = args.mib * 1024 * 1024 / 8;
    let rate = args.rate * 1_000_000;
    let sender = thread::spawn(move || send(&mut source, words));
    let (reader, _) = sink.accept()?;
    let begun = now();
    let watching = thread::current();
    let reading = thread::spawn(move || {
        let read = read_slowly(reader, words, rate);
        watching.unpark();
        read
    });
    while !reading.is_finished() {
        thread::park_timeout(Duration::from_secs(10));
        let (peak, seconds) = (kib(&proxy, "VmHWM:")?, begun.elapsed().as_secs());
        eprintln!("{seconds} s: {peak} KiB at the peak so far");
    }
    let seconds = begun.elapsed().as_secs_f64();
    sender.join().map_err(|_| "the sender panicked")??;
    reading.join().map_err(|_| "the reader panicked")??;
    let peak = kib(&proxy, "VmHWM:")?;
    println!(
        "{} MiB through the proxy in {seconds:.1} s, read at {} MB/s: {:.1} MiB resident when idle, \
         {:.1} MiB at the peak (limit {})",
        args.mib,
        args.rate,
        idle as f64 / 1024.0,
        peak as f64 / 1024.0,
        args.limit,
    );
    Ok(peak < args.limit * 1024)
}

/// Starts the proxy that stands beside this program, and returns it with the address that it says it listens on.
fn start_proxy(to: &str) -> Outcome<(Proxy, String)> {
    let mut path: PathBuf = std::env::current_exe()?;
    path.pop(); // target/release/deps
    path.pop();
    path.push("examples/proxy");
    let mut child = Command::new(&path)
        .args(["--addr", "127.0.0.1:0", "--to", to])
        .env("RUST_LOG", "info")
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}; run proxy_memory.sh", path.display()))?;
    let stderr = child.stderr.take().ok_or("the proxy has no stderr")?;
    let proxy = Proxy(child);
    let mut lines = BufReader::new(stderr).lines();
    let first = lines.next().ok_or("the proxy said nothing")??;
    let (_, rest) = first.split_once("listening on ").ok_or_else(|| format!("not it: {first}"))?;
    let address = rest.split(',').next().unwrap_or(rest).to_owned();
    thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("proxy: {line}")));
    Ok((proxy, address))
}

/// Sends the numbers from 0, eight bytes each, as fast as they are taken.
fn send(to: &mut TcpStream, words: u64) -> Outcome<()> {
    let mut block = Vec::with_capacity(64 * 1024);
    for first in (0..words).step_by(8 * 1024) {
        block.clear();
        (first..words.min(first + 8 * 1024)).for_each(|word| block.extend(word.to_be_bytes()));
        to.write_all(&block)?;
    }
    to.shutdown(std::net::Shutdown::Write)?;
    Ok(())
}

/// Reads the numbers at so many bytes a second, and checks that they are all there, to the end of the stream.
fn read_slowly(mut from: TcpStream, words: u64, rate: u64) -> Outcome<()> {
    let mut block = vec![0; 64 * 1024];
    let begun = now();
    let mut next = 0;
    while next < words {
        let due = begun + Duration::from_secs_f64(next as f64 * 8.0 / rate as f64);
        thread::park_timeout(due.saturating_duration_since(now()));
        let size = block.len().min((words - next) as usize * 8);
        from.read_exact(&mut block[..size])?;
        for word in block[..size].chunks_exact(8) {
            let word = u64::from_be_bytes(word.try_into()?);
            if word != next {
                return Err(format!("{word} came where {next} was due").into());
            }
            next += 1;
        }
    }
    if from.read(&mut block)? > 0 {
        return Err("more came than was sent".into());
    }
    Ok(())
}

/// One of the numbers in the proxy's `/proc/PID/status`.
fn kib(proxy: &Proxy, field: &str) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", proxy.0.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or_else(|| format!("no {field} in the proxy's status"))?.parse()?)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the reader's pace is kept here, outside of any loop"
)]
fn now() -> Instant {
    Instant::now()
}
