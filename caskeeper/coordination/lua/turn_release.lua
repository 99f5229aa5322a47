-- turn_release: the place is free, if it was this token's.
-- KEYS  1 turns:<name>
-- ARGV  1 token
-- Answers OK | HELD.
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' or redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then
  return {'HELD'}
end
return {'OK'}
