-- breaker_look: which of these remotes are left alone, and who looks whether they are back.
-- One of those who ask after the time is over may probe, and nobody else while it does.
-- KEYS  1 breakers
-- ARGV  1 how long a probe may take in ms, then urls
-- Answers OK, then per url its record with left_ms and probe ('1' = it is the asker's to probe), or '' = not left alone.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local answer = {'OK'}
local hash = redis.call('TYPE', KEYS[1]).ok == 'hash'
local function time(text)
  return type(text) == 'string' and #text <= 16 and string.match(text, '^%d+$') and tonumber(text) or nil
end
for n = 2, #ARGV do
  local text = hash and redis.call('HGET', KEYS[1], ARGV[n])
  local fine, record = pcall(cjson.decode, text or '')
  answer[n] = ''
  local until_ms = fine and type(record) == 'table' and record.open == '1' and time(record.until_ms)
  -- No script writes an end so far away: junk, or a clock that was set back.
  if until_ms and until_ms <= now + 3600000 then
    record.left_ms = string.format('%.0f', math.max(0, until_ms - now))
    record.probe = '0'
    local probing = time(record.probe_ms) or 0
    if until_ms <= now and (probing <= now or probing > now + 3600000) then
      record.probe_ms = string.format('%.0f', now + tonumber(ARGV[1]))
      redis.call('HSET', KEYS[1], ARGV[n], cjson.encode(record))
      record.probe = '1'
    end
    answer[n] = cjson.encode(record)
  end
end
return answer
