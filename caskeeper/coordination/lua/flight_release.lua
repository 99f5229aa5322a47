-- flight_release: the execution is over, if it is still this one's.
-- KEYS  1 exec:<task>
-- ARGV  1 token
-- Answers OK | HELD.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'HELD'}
end
redis.call('DEL', KEYS[1])
return {'OK'}
