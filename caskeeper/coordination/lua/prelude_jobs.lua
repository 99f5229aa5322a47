-- prelude_jobs: put before the text of every script on the records of jobs. Nothing here is shared state: what
-- is damaged is as good as nothing, and begins anew.
-- Every answer is a list of texts whose first item is a word: OK, or why nothing was changed.
local clock = redis.call('TIME')
local NOW = clock[1] * 1000 + math.floor(clock[2] / 1000)
local FLIGHTS, RECORDS, LOG, WAITING = 'caskeeper:flight:', 'caskeeper:job:', 'caskeeper:jobs', 'caskeeper:waiters:'

-- Integers travel as text: Lua would write large ones with an exponent.
local function int(number)
  return string.format('%.0f', number)
end

-- A key of another type than ours: nobody of us wrote it.
local function clear_other(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then
    redis.call('DEL', key)
  end
end

-- The pairs of a hash as a table; empty where there is none.
local function hash(key)
  clear_other(key, 'hash')
  local found, flat = {}, redis.call('HGETALL', key)
  for n = 1, #flat, 2 do
    found[flat[n]] = flat[n + 1]
  end
  return found
end

-- A time or a count that a script wrote; 0 for everything else.
local function whole(text)
  return text and #text <= 16 and string.match(text, '^%d+$') and tonumber(text) or 0
end

local function record(id)
  return hash(RECORDS .. id)
end

local OVER = {done = true, failed = true, cancelled = true}

-- A job that somebody may still wait for: not ended, and nobody wants its end.
local function goes_on(id)
  local job = record(id)
  return job.state and not OVER[job.state] and job.cancel ~= '1'
end

-- No lease ends so far away: it is junk, or of before a clock was set back. Nobody waits for it: who is alive renews.
local LONGEST_MS = 120000

-- An execution that renews its lease, or did until so long ago.
local function runs(flight, since_ms)
  local until_ms = whole(flight.until_ms)
  local believed = until_ms + tonumber(since_ms or '0') > NOW and until_ms <= NOW + LONGEST_MS
  return flight.running and flight.running ~= '' and believed
end

local function land(key)
  redis.call('HDEL', key, 'running', 'token', 'until_ms', 'joinable')
end

-- The job is the one to be begun, unless another one is.
local function queue_up(key, id, life_ms)
  local flight = hash(key)
  if not flight.next or flight.next == id or whole(flight.next_until_ms) <= NOW then
    redis.call('HSET', key, 'next', id, 'next_until_ms', int(NOW + tonumber(life_ms)))
    return true
  end
  return false
end

local function drop_next(key, id)
  if redis.call('HGET', key, 'next') == id then
    redis.call('HDEL', key, 'next', 'next_until_ms')
  end
end

-- The log of jobs: the newest stay. A record goes with its entry, but not that of a job which is still to be done:
-- whoever asks for the same joins it, and it can be cancelled.
local function list_job(id, life_ms, most)
  clear_other(LOG, 'zset')
  redis.call('ZADD', LOG, 'NX', int(NOW), id)
  redis.call('PEXPIRE', LOG, life_ms)
  local more = redis.call('ZCARD', LOG) - tonumber(most)
  if more > 0 then
    for _, old in ipairs(redis.call('ZRANGE', LOG, 0, more - 1)) do
      local state = record(old).state
      if not state or OVER[state] then
        redis.call('DEL', RECORDS .. old)
      end
      redis.call('ZREM', LOG, old)
    end
  end
end

-- Who waits is kept a little longer than the last of them.
local function add_waiter(key, waiter, for_ms)
  clear_other(key, 'zset')
  redis.call('ZADD', key, int(NOW + tonumber(for_ms)), waiter)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', int(NOW))
  local last = redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')
  redis.call('PEXPIRE', key, math.max(1000, tonumber(last[2] or '0') - NOW + 1000))
end

local function count_waiters(key)
  clear_other(key, 'zset')
  return redis.call('ZCOUNT', key, '(' .. int(NOW), '+inf')
end

-- The state of a job as the queue's library has it, unless it has ended by what is stored: then nothing is changed,
-- and the answer is what is stored. What stands there and is no state is written over; what only looks like an end is
-- for the caller to judge. The state, its life in seconds and the ends that stay are ARGV from the `first` one.
local function keep_state(key, first)
  local found = redis.pcall('GET', key)
  if type(found) == 'string' then
    local fine, state = pcall(cjson.decode, found)
    for n = first + 2, #ARGV do
      if fine and type(state) == 'table' and state.status == ARGV[n] then
        return found
      end
    end
  end
  redis.call('SET', key, ARGV[first], 'EX', ARGV[first + 1])
  redis.call('PUBLISH', key, ARGV[first])  -- who waits by the library's own means hears of it
end

-- The record as names and values, with whether an execution renews its lease.
local function told(job)
  local flat, flight = {}, job.flight and hash(FLIGHTS .. job.flight) or {}
  for name, value in pairs(job) do
    flat[#flat + 1] = name
    flat[#flat + 1] = value
  end
  flat[#flat + 1] = 'alive'
  flat[#flat + 1] = runs(flight) and flight.running == job.id and '1' or '0'
  return flat
end
