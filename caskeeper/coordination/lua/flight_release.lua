-- flight_release: others may see to it, if it is still this one's.
-- KEYS  1 once:<what>
-- ARGV  1 token
-- Answers OK | HELD.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'HELD'}
end
redis.call('DEL', KEYS[1])
return {'OK'}
