-- stats_read: every total that is a whole number.
-- KEYS  1 stats
-- ARGV  none
-- Answers OK and field, value …
local found = {'OK'}
if redis.call('TYPE', KEYS[1]).ok == 'hash' then
  local flat = redis.call('HGETALL', KEYS[1])
  for n = 1, #flat, 2 do
    if string.match(flat[n + 1], '^%-?%d+$') and #flat[n + 1] < 20 then
      found[#found + 1] = flat[n]
      found[#found + 1] = flat[n + 1]
    end
  end
end
return found
