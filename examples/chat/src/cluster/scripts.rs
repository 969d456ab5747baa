//! What is done in Redis, each at one stroke: a script changes who is where and posts the change, so that whoever reads
//! both finds them in step.
//!
//! Under `{wheelhouse-chat}:` lie
//!
//! - `events`, the stream of all that counts, and `signals`, a short one of who is typing;
//! - `state`: `epoch` (made anew when Redis has lost its memory), `last` (the greatest id), `count` (of entries);
//! - `nodes`, each run of a node with the time until which it is taken to live, and `numbers`, whose number is whose;
//! - `names`, who holds a name, as `node session`, and `owners`, of rooms;
//! - `people:NODE`, a set of `room name`, and `nonce:…`, what was posted under a nonce, for [`NONCE_MS`].
//!
//! Every name lies in one hash slot, and names made in a script lie where its declared ones do.

use std::sync::LazyLock;

use redis::{Connection, FromRedisValue, RedisResult, Script};
use serde::Serialize;

/// What every name begins with.
pub(super) const PREFIX: &str = "{wheelhouse-chat}:";
/// Entries kept in the stream, roughly: what a node may miss and still catch up.
const EVENTS: u32 = 10_000;
const SIGNALS: u32 = 100;
/// The answer to a private message for somebody who is not there. No memo is like that.
pub(super) const NOBODY: &str = "nobody";
/// How long a nonce is remembered: as long as a resend may take.
const NONCE_MS: u32 = 300_000;
/// Rooms whose owners are remembered.
const OWNERS: u32 = 10_000;

/// What all scripts begin with; `ARGV[1]` is the node.
const COMMON: &str = r"
local P = KEYS[1]
local me = ARGV[1]
local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local function add(key, entry)
  local n = redis.call('HINCRBY', P .. 'state', 'count', 1)
  redis.call('XADD', P .. 'events', 'MAXLEN', '~', @EVENTS, '*', 'n', n, 'i', me, 'k', key, 'e', entry)
end
local function lives(node)
  local till = redis.call('ZSCORE', P .. 'nodes', node)
  return till and tonumber(till) > now()
end
local function holder(value)
  return string.match(value, '^(%S+) ?(.*)$')
end
local function drop(hash, node)
  local all = redis.call('HGETALL', P .. hash)
  for i = 1, #all, 2 do
    if holder(all[i + 1]) == node then redis.call('HDEL', P .. hash, all[i]) end
  end
end
local function bury(node)
  redis.call('ZREM', P .. 'nodes', node)
  redis.call('DEL', P .. 'people:' .. node)
  drop('names', node)
  drop('numbers', node)
  add(0, cjson.encode({ t = 'gone', node = node }))
end
local function reap()
  for _, node in ipairs(redis.call('ZRANGEBYSCORE', P .. 'nodes', '-inf', now())) do
    if node ~= me then bury(node) end
  end
end
local function claim(name, session)
  local held = redis.call('HGET', P .. 'names', name)
  if held then
    local node, of = holder(held)
    if node ~= me and lives(node) then
      if session == '' or of ~= session then return false end
      add(0, cjson.encode({ t = 'taken-over', name = name, session = session }))
    end
  end
  redis.call('HSET', P .. 'names', name, me .. ' ' .. session)
  return true
end
local function number(wanted, insist, alive_ms)
  local function free(n)
    local of = redis.call('HGET', P .. 'numbers', n)
    return not of or of == me or not lives(of)
  end
  local n = tonumber(wanted)
  if n and not insist and not free(n) then n = nil end
  for i = 0, 63 do
    if not n and free(i) then n = i end
  end
  if n then
    redis.call('ZADD', P .. 'nodes', now() + alive_ms, me)
    drop('numbers', me)
    redis.call('HSET', P .. 'numbers', n, me)
  end
  return n or -1
end
local function standing(epoch)
  if redis.call('HGET', P .. 'state', 'epoch') ~= epoch then return 'forgot' end
  if not redis.call('ZSCORE', P .. 'nodes', me) then return 'outcast' end
end
";

/// Takes a node number, or -1 where all are taken: `ARGV` = node, wanted or empty, whether to insist, milliseconds to live.
const NUMBER: &str = "
reap()
return number(ARGV[2], ARGV[3] == '1', tonumber(ARGV[4]))
";

/// Joins, or joins again; all have their own names before anybody is given another. `ARGV` = node, wanted number, whether to
/// insist, milliseconds to live, an epoch for a Redis that has none, people and names as JSON, the entry that says so.
const JOIN: &str = r"
reap()
redis.call('HSETNX', P .. 'state', 'epoch', ARGV[5])
local n = number(ARGV[2], ARGV[3] == '1', tonumber(ARGV[4]))
if n < 0 then return redis.error_reply('NODES all 64 node numbers are taken') end
redis.call('DEL', P .. 'people:' .. me)
for _, person in ipairs(cjson.decode(ARGV[6])) do redis.call('SADD', P .. 'people:' .. me, person) end
drop('names', me)
local names, wishes, mine = {}, cjson.decode(ARGV[7]), {}
local function get(i, name)
  if names[i] or mine[name] or not claim(name, wishes[i].session) then return end
  names[i], mine[name] = name, true
end
for i, wish in ipairs(wishes) do get(i, wish.names[1]) end
for i, wish in ipairs(wishes) do
  for _, name in ipairs(wish.names) do get(i, name) end
  names[i] = names[i] or ''
end
add(0, ARGV[8])
local rosters = {}
for _, node in ipairs(redis.call('ZRANGEBYSCORE', P .. 'nodes', now(), '+inf')) do
  if node ~= me then
    rosters[#rosters + 1] = { node, redis.call('SMEMBERS', P .. 'people:' .. node) }
  end
end
local last = redis.call('XREVRANGE', P .. 'events', '+', '-', 'COUNT', 1)[1][1]
return { redis.call('HGET', P .. 'state', 'epoch'), n, last, names, rosters,
         redis.call('HGETALL', P .. 'owners'), redis.call('HGET', P .. 'state', 'last') or '0' }
";

/// Posts a batch, all of it or nothing: `ARGV` = node, epoch, operations as JSON. New ids must be greater than the last.
const POST: &str = r"
local fallen = standing(ARGV[2])
if fallen then return { fallen } end
local ops = cjson.decode(ARGV[3])
local last = tonumber(redis.call('HGET', P .. 'state', 'last') or '0')
for _, op in ipairs(ops) do
  if op.id and not op.late and op.id <= last and not redis.call('GET', P .. 'nonce:' .. op.nonce) then
    return { 'behind', string.format('%.0f', last) }
  end
end
local mine = P .. 'people:' .. me
local act = {}
function act.say(op)
  local nonce = P .. 'nonce:' .. op.nonce
  local known = redis.call('GET', nonce)
  if known then return known end
  if op.to and redis.call('HEXISTS', P .. 'names', op.to) == 0 then return '@NOBODY' end
  redis.call('SET', nonce, op.memo, 'PX', @NONCE_MS)
  if op.id and op.id > last then
    last = op.id
    redis.call('HSET', P .. 'state', 'last', string.format('%.0f', last))
  end
  add(op.key, op.entry)
end
function act.join(op)
  if redis.call('SADD', mine, op.person) == 1 then add(op.key, op.entry) end
end
function act.leave(op)
  if redis.call('SREM', mine, op.person) == 1 then add(op.key, op.entry) end
end
function act.nick(op)
  for _, move in ipairs(op.moves) do
    redis.call('SREM', mine, move[1])
    redis.call('SADD', mine, move[2])
  end
  act.release(op)
  add(op.key, op.entry)
end
function act.claim(op)
  return claim(op.name, op.session) and 'yes' or 'no'
end
function act.release(op)
  local held = redis.call('HGET', P .. 'names', op.name)
  if held and holder(held) == me then redis.call('HDEL', P .. 'names', op.name) end
end
function act.owner(op)
  local owner = redis.call('HGET', P .. 'owners', op.room)
  if owner and op.only_if_none then return owner end
  if owner or redis.call('HLEN', P .. 'owners') < @OWNERS then
    redis.call('HSET', P .. 'owners', op.room, op.owner)
  end
  add(op.key, op.entry)
end
function act.signal(op)
  redis.call('XADD', P .. 'signals', 'MAXLEN', '~', @SIGNALS, '*', 'n', 0, 'i', me, 'k', 0, 'e', op.entry)
end
local replies = { 'done' }
for _, op in ipairs(ops) do replies[#replies + 1] = act[op.op](op) or '' end
return replies
";

/// Lives on: `ARGV` = node, epoch, milliseconds to live, its number.
const BEAT: &str = "
local fallen = standing(ARGV[2])
if fallen then return fallen end
redis.call('ZADD', P .. 'nodes', now() + tonumber(ARGV[3]), me)
reap()
if redis.call('HGET', P .. 'numbers', ARGV[4]) ~= me then return 'ousted' end
return 'well'
";

/// Goes: `ARGV` = node.
const LEAVE: &str = "bury(me)";

fn script(text: &str) -> Script {
    let code = format!("{COMMON}{text}")
        .replace("@EVENTS", &EVENTS.to_string())
        .replace("@SIGNALS", &SIGNALS.to_string())
        .replace("@NOBODY", NOBODY)
        .replace("@NONCE_MS", &NONCE_MS.to_string())
        .replace("@OWNERS", &OWNERS.to_string());
    Script::new(&code)
}

static NUMBER_SCRIPT: LazyLock<Script> = LazyLock::new(|| script(NUMBER));
static JOIN_SCRIPT: LazyLock<Script> = LazyLock::new(|| script(JOIN));
static POST_SCRIPT: LazyLock<Script> = LazyLock::new(|| script(POST));
static BEAT_SCRIPT: LazyLock<Script> = LazyLock::new(|| script(BEAT));
static LEAVE_SCRIPT: LazyLock<Script> = LazyLock::new(|| script(LEAVE));

/// One thing to do in a batch of posts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub(super) enum Op {
    /// Posted once for its nonce; posted before, the answer is the memo of that time. `late` lets an old id in. With `to`,
    /// not posted where nobody holds that name; the answer is [`NOBODY`].
    Say {
        key: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        late: bool,
        nonce: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        to: Option<String>,
        memo: String,
        entry: String,
    },
    Join {
        key: u64,
        person: String,
        entry: String,
    },
    Leave {
        key: u64,
        person: String,
        entry: String,
    },
    Nick {
        key: u64,
        moves: Vec<(String, String)>,
        name: String,
        entry: String,
    },
    /// Answered with `yes` or `no`.
    Claim {
        name: String,
        session: String,
    },
    Release {
        name: String,
    },
    /// Answered with the owner that stays.
    Owner {
        key: u64,
        room: String,
        owner: String,
        only_if_none: bool,
        entry: String,
    },
    Signal {
        entry: String,
    },
}

/// Names that one client would take, best first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Wish {
    pub(super) names: Vec<String>,
    pub(super) session: String,
}

/// What a node is known by, and for how long it lives without a word.
#[derive(Clone, Debug)]
pub(super) struct Me {
    pub(super) node: String,
    pub(super) number: Option<u8>,
    /// Whether the number was given, and is taken from whoever has it.
    pub(super) insist: bool,
    pub(super) alive_ms: u64,
}

/// What a node is told when it joins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Welcome {
    pub(super) epoch: String,
    pub(super) number: u8,
    /// The last entry: rosters and owners are as after it.
    pub(super) place: String,
    /// What became of the wishes: a name each, or nothing.
    pub(super) names: Vec<String>,
    pub(super) rosters: Vec<(String, Vec<String>)>,
    pub(super) owners: Vec<(String, String)>,
    pub(super) last_id: u64,
}

/// What became of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Posted {
    /// A reply for each operation, empty for most.
    Done(Vec<String>),
    /// Nothing was done: an id is not greater than this one.
    Behind(u64),
    /// Nothing was done: join again, for this reason.
    Fallen(&'static str),
}

pub(super) fn take_number(redis: &mut Connection, me: &Me) -> RedisResult<i64> {
    let wanted = me.number.map(|number| number.to_string()).unwrap_or_default();
    let mut call = NUMBER_SCRIPT.prepare_invoke();
    call.key(PREFIX).arg(&me.node).arg(wanted).arg(u8::from(me.insist)).arg(me.alive_ms);
    call.invoke(redis)
}

pub(super) fn join(
    redis: &mut Connection,
    me: &Me,
    people: &[String],
    wishes: &[Wish],
    entry: &str,
) -> RedisResult<Welcome> {
    let wanted = me.number.map(|number| number.to_string()).unwrap_or_default();
    let mut call = JOIN_SCRIPT.prepare_invoke();
    call.key(PREFIX).arg(&me.node).arg(wanted).arg(u8::from(me.insist)).arg(me.alive_ms);
    call.arg(format!("{:032x}", fastrand::u128(..)));
    call.arg(json(&people)).arg(json(&wishes)).arg(entry);
    let (epoch, number, place, names, rosters, owners, last_id) = call.invoke(redis)?;
    Ok(Welcome { epoch, number, place, names, rosters, owners, last_id })
}

pub(super) fn post(
    redis: &mut Connection,
    node: &str,
    epoch: &str,
    ops: &[Op],
) -> RedisResult<Posted> {
    let mut call = POST_SCRIPT.prepare_invoke();
    call.key(PREFIX).arg(node).arg(epoch).arg(json(&ops));
    let mut replies: Vec<String> = call.invoke(redis)?;
    let rest = replies.split_off(1.min(replies.len()));
    match (replies.first().map(String::as_str), rest.first().and_then(|id| id.parse().ok())) {
        (Some("done"), _) if rest.len() == ops.len() => Ok(Posted::Done(rest)),
        (Some("behind"), Some(last)) => Ok(Posted::Behind(last)),
        (Some("forgot"), _) => Ok(Posted::Fallen(FORGOT)),
        (Some("outcast"), _) => Ok(Posted::Fallen(OUTCAST)),
        _ => Err((redis::ErrorKind::UnexpectedReturnType, "a reply that is none of ours").into()),
    }
}

const FORGOT: &str = "Redis has lost its memory";
const OUTCAST: &str = "the other nodes took this one for dead";

/// What a node hears when it says that it lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Beat {
    Well,
    /// Another node runs under its number.
    Ousted,
    Fallen(&'static str),
}

pub(super) fn beat(redis: &mut Connection, me: &Me, epoch: &str) -> RedisResult<Beat> {
    let mut call = BEAT_SCRIPT.prepare_invoke();
    call.key(PREFIX).arg(&me.node).arg(epoch).arg(me.alive_ms).arg(me.number.unwrap_or(0));
    let word: String = call.invoke(redis)?;
    Ok(match &*word {
        "well" => Beat::Well,
        "ousted" => Beat::Ousted,
        "forgot" => Beat::Fallen(FORGOT),
        _ => Beat::Fallen(OUTCAST),
    })
}

pub(super) fn leave(redis: &mut Connection, node: &str) -> RedisResult<()> {
    let mut call = LEAVE_SCRIPT.prepare_invoke();
    call.key(PREFIX).arg(node);
    call.invoke::<redis::Value>(redis).map(drop)
}

/// Reads what came after two places, and waits a moment for it. `None`: nothing came.
pub(super) fn read<R: FromRedisValue>(
    redis: &mut Connection,
    events: &str,
    signals: &str,
    wait_ms: u64,
) -> RedisResult<Option<R>> {
    redis::cmd("XREAD")
        .arg("COUNT")
        .arg(256)
        .arg("BLOCK")
        .arg(wait_ms)
        .arg("STREAMS")
        .arg(format!("{PREFIX}events"))
        .arg(format!("{PREFIX}signals"))
        .arg(events)
        .arg(signals)
        .query(redis)
}

pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("texts and numbers are JSON")
}
