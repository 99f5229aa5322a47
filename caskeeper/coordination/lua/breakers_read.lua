-- breakers_read: every remote that did not answer lately. Changes nothing.
-- KEYS  1 breakers
-- ARGV  none
-- Answers OK, now_ms, then pairs: url, record.
local clock = redis.call('TIME')
local answer = {'OK', string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000))}
if redis.call('TYPE', KEYS[1]).ok == 'hash' then
  for _, text in ipairs(redis.call('HGETALL', KEYS[1])) do
    answer[#answer + 1] = text
  end
end
return answer
