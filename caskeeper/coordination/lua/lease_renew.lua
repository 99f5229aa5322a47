-- lease_renew: the maintenance lease lives on while nobody else took it.
-- KEYS  1-7 as in prelude
-- ARGV  1 epoch, 2 holder, 3 life_ms
-- Answers OK | LOST | TAKEN.
if not mine(ARGV[2]) then
  return {'TAKEN'}
end
redis.call('HSET', CLEANUP, 'expires_ms', int(NOW + tonumber(ARGV[3])))
return {'OK'}
