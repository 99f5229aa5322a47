-- prelude: put before the text of every script that touches the shared state.
-- It decides whether the state is lost (safety.md section 7): no epoch, another server run, or a
-- structure that is missing, of another type or epoch, or that holds what no script writes.
-- KEYS  1 state  2 usage  3 operations  4 claims  5 condemned  6 sessions  7 cleanup
--       (8 caskeeper:volume, only for create and acquire)
-- ARGV  1 the epoch the caller relies on, '' = whichever is current; the rest belongs to the script
-- Every answer is a list whose first item is a word: OK, or the reason why nothing was changed.
local STATE, USAGE, OPERATIONS, CLAIMS = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local CONDEMNED, SESSIONS, CLEANUP = KEYS[5], KEYS[6], KEYS[7]

local clock = redis.call('TIME')
local NOW = clock[1] * 1000 + math.floor(clock[2] / 1000)
local RUN_ID = @RUN_ID@
-- pcall: a key of another type is an error, and then has no fields.
local fields = redis.pcall('HMGET', STATE, 'epoch', 'run_id', 'ready', 'known', 'evict_from_ms')
local EPOCH = fields[1]
local READY, KNOWN = fields[3] == '1', fields[4] == '1'

-- Sizes and times are kept as the text of an integer that Lua counts exactly; nil for everything else.
local MOST = 9007199254740992
local function integer(text)
  if type(text) ~= 'string' or #text > 16 or not (text == '0' or string.match(text, '^[1-9]%d*$')) then
    return nil
  end
  return tonumber(text) < MOST and tonumber(text) or nil
end

-- What a person may be told of.
local function printable(text)
  return type(text) == 'string' and #text <= 256 and string.match(text, '^[ -~]*$') and true or false
end

local function yes_or_no(text)
  return text == '1' or text == '0'
end

local EVICT_FROM = integer(fields[5]) or 0
local whole_structures = EPOCH and integer(fields[5]) and yes_or_no(fields[3]) and yes_or_no(fields[4])
local counters = redis.pcall('HMGET', USAGE, 'epoch', 'used', 'reserved', 'added_total', 'converted')
counters[5] = counters[5] or '0'  -- not there while nothing was converted
whole_structures = whole_structures and counters[1] == EPOCH
for n = 2, 5 do
  whole_structures = whole_structures and integer(counters[n]) ~= nil
end
for n = 3, 7 do
  whole_structures = whole_structures and redis.pcall('HGET', KEYS[n], 'epoch') == EPOCH
end
local lease = redis.pcall('HMGET', CLEANUP, 'holder', 'purpose', 'expires_ms')
whole_structures = whole_structures and printable(lease[1]) and printable(lease[2]) and integer(lease[3]) ~= nil
local LOST = not whole_structures or fields[2] ~= RUN_ID

-- Integers travel as text: Lua would write large ones with an exponent.
local function int(number)
  return string.format('%.0f', number)
end

-- No script writes an end so far away, whatever another host has configured. It is left by junk, or by a clock that
-- was set back, and nothing waits for it: who is alive renews, and who is not is fenced.
local HOUR, MONTH = 3600000, 2592000000
local function goes_on(end_ms, life_ms, least_ms)
  return tonumber(end_ms) > NOW and tonumber(end_ms) <= NOW + math.max(10 * tonumber(life_ms or '0'), least_ms)
end

-- One claim more or less on a member; what no script wrote counts as none.
local function count_claim(member, more)
  local count = (integer(redis.call('HGET', CLAIMS, member)) or 0) + more
  if count > 0 and count < MOST then
    redis.call('HSET', CLAIMS, member, int(count))
  else
    redis.call('HDEL', CLAIMS, member)
  end
end

local function session_key(id)
  return string.sub(STATE, 1, -6) .. 'session:' .. id
end

-- Pairs of a hash without its sentinel, as a table.
local function entries(key)
  local found, flat = {}, redis.call('HGETALL', key)
  for n = 1, #flat, 2 do
    if flat[n] ~= 'epoch' then
      found[flat[n]] = flat[n + 1]
    end
  end
  return found
end

-- What a text says, if that is an object or a list; else nil.
local function decoded(text)
  local fine, document = pcall(cjson.decode, text)
  return fine and type(document) == 'table' and document or nil
end

-- The record of a session; nil for what no script wrote.
local function session_of(text)
  local session = decoded(text)
  return session and integer(session.size) and integer(session.expires_ms)
    and (not session.life_ms or integer(session.life_ms))
    and type(session.label) == 'string' and session or nil
end

-- The set of a session has its sentinel and as many keys as its record says.
local function session_whole(id, session)
  local key = session_key(id)
  return session and redis.pcall('SCARD', key) == tonumber(session.size) + 1
    and redis.call('SISMEMBER', key, 'epoch:' .. EPOCH) == 1
end

local function sessions_whole()
  for id, text in pairs(entries(SESSIONS)) do
    if not session_whole(id, session_of(text)) then
      return false
    end
  end
  return true
end

-- The record of an operation; nil for what no script wrote.
local function operation_of(text)
  local record = decoded(text)
  if not record or type(record.verb) ~= 'string' or type(record.subject) ~= 'string'
    or type(record.host) ~= 'string' or type(record.dying) ~= 'boolean' or type(record.claims) ~= 'table'
    or not (integer(record.started_ms) and integer(record.expires_ms) and integer(record.reserved_bytes)
      and integer(record.part or '0')) then
    return nil
  end
  for _, member in pairs(record.claims) do
    if type(member) ~= 'string' then
      return nil
    end
  end
  return record
end

local function operations_whole()
  for _, text in pairs(entries(OPERATIONS)) do
    if not operation_of(text) then
      return false
    end
  end
  return true
end

local function session_live(session)
  return goes_on(session.expires_ms, session.life_ms, MONTH)
end

-- The life that a session was opened with, else the one the configuration gives.
local function session_end(session, configured_ms)
  return int(NOW + tonumber(session.life_ms or configured_ms))
end

local function end_session(id)
  redis.call('DEL', session_key(id))
  redis.call('HDEL', SESSIONS, id)
end

-- The record of an operation, or nil and the word that says why there is none.
local function operation(id)
  local text = redis.call('HGET', OPERATIONS, id)
  if not text then
    return nil, 'GONE'
  end
  return operation_of(text), 'LOST'
end

-- Claims ARGV[first] and all that follow for an operation; false: one is condemned, and nothing was claimed.
local function claim_from(first, record)
  for n = first, #ARGV do
    if redis.call('HEXISTS', CONDEMNED, ARGV[n]) == 1 then
      return false
    end
  end
  local claimed = {}
  for _, member in ipairs(record.claims) do
    claimed[member] = true
  end
  for n = first, #ARGV do
    if not claimed[ARGV[n]] then
      claimed[ARGV[n]] = true
      record.claims[#record.claims + 1] = ARGV[n]
      count_claim(ARGV[n], 1)
    end
  end
  return true
end

local function keep_operation(id, record)
  redis.call('HSET', OPERATIONS, id, cjson.encode(record))
end

-- A counter of usage goes down, never below zero.
local function lower(counter, bytes)
  if tonumber(bytes) > 0 and redis.call('HINCRBY', USAGE, counter, '-' .. bytes) < 0 then
    redis.call('HSET', USAGE, counter, '0')
  end
end

local function add_used(bytes)
  redis.call('HINCRBY', USAGE, 'used', bytes)
  redis.call('HINCRBY', USAGE, 'added_total', bytes)
end

-- Reservation, claims and record of an operation go together.
local function drop_operation(id, record)
  lower('reserved', record.reserved_bytes)
  for _, member in ipairs(record.claims) do
    count_claim(member, -1)
  end
  redis.call('HDEL', OPERATIONS, id)
end

-- Still mine: nobody else took the lease. An expired lease that nobody wants is still its holder's.
local function mine(holder)
  return holder ~= '' and redis.call('HGET', CLEANUP, 'holder') == holder
end

local function clear(key)
  redis.call('DEL', key)
  redis.call('HSET', key, 'epoch', EPOCH)
end

-- Everything begins anew under a new epoch.
local function begin_epoch(epoch, used_bytes, ready, evict_from_ms)
  EPOCH = epoch
  local cursor, pattern = '0', session_key('*')
  repeat  -- the sets of sessions whose record is gone as well
    local page = redis.call('SCAN', cursor, 'MATCH', pattern, 'COUNT', '1000')
    cursor = page[1]
    for _, key in ipairs(page[2]) do
      redis.call('DEL', key)
    end
  until cursor == '0'
  redis.call('DEL', STATE)
  for n = 2, 7 do
    clear(KEYS[n])
  end
  redis.call('HSET', USAGE, 'used', used_bytes, 'reserved', '0', 'added_total', '0')
  redis.call('HSET', CLEANUP, 'holder', '', 'expires_ms', '0', 'purpose', '')
  redis.call('HSET', STATE, 'epoch', epoch, 'run_id', RUN_ID, 'ready', ready, 'known', ready,
    'evict_from_ms', evict_from_ms)
end
