-- flight_renew: the execution goes on, if it is still this one's.
-- KEYS  1 exec:<task>
-- ARGV  1 token, 2 ttl_ms
-- Answers OK | HELD.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'HELD'}
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {'OK'}
