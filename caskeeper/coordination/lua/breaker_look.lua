-- breaker_look: which of these remotes are left alone, and who looks whether they are back.
-- One of those who ask after the time is over may probe, and nobody else while it does.
-- KEYS  1 breakers
-- ARGV  1 how long a probe may take in ms, 2 an end no script writes, so far away in ms,
--       3 how long after its end a record says nothing any more in ms, then urls
-- Answers OK, then per url its record with left_ms and probe ('1' = it is the asker's to probe), or '' = not left alone.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local answer = {'OK'}
local hash = redis.call('TYPE', KEYS[1]).ok == 'hash'
local function time(text)
  return type(text) == 'string' and #text <= 16 and string.match(text, '^%d+$') and tonumber(text) or nil
end
local far = now + tonumber(ARGV[2])
local forgotten = now - tonumber(ARGV[3])
for n = 4, #ARGV do
  local text = hash and redis.call('HGET', KEYS[1], ARGV[n])
  local fine, found = pcall(cjson.decode, text or '')
  answer[n - 2] = ''
  local until_ms = fine and type(found) == 'table' and found.open == '1' and time(found.until_ms)
  -- No script writes an end so far away: junk, or a clock that was set back. What ended long ago, and nobody
  -- has asked about since, is met as if for the first time: with all of a first contact's patience.
  if until_ms and until_ms <= far and until_ms >= forgotten then
    local record = {open = '1'}  -- what else stands there may be what cannot be written again
    for _, name in ipairs({'error', 'until_ms', 'failures', 'since_ms', 'probe_ms'}) do
      record[name] = type(found[name]) == 'string' and found[name] or nil
    end
    record.left_ms = string.format('%.0f', math.max(0, until_ms - now))
    record.probe = '0'
    local probing = time(record.probe_ms) or 0
    if until_ms <= now and (probing <= now or probing > far) then
      record.probe_ms = string.format('%.0f', now + tonumber(ARGV[1]))
      redis.call('HSET', KEYS[1], ARGV[n], cjson.encode(record))
      record.probe = '1'
    end
    answer[n - 2] = cjson.encode(record)
  end
end
return answer
