-- ready: every other cleanup is fenced; what it condemned is free, operations and sessions may come. The waiting
-- period of a lost state begins here: before, nobody could come back, and a count of a large volume takes long.
-- KEYS  1-7 as in prelude
-- ARGV  1 epoch, 2 holder, 3 waiting period in ms
-- Answers OK | LOST | TAKEN.
if not mine(ARGV[2]) then
  return {'TAKEN'}
end
clear(CONDEMNED)
if not READY then
  redis.call('HSET', STATE, 'ready', '1', 'evict_from_ms', int(NOW + tonumber(ARGV[3])))
end
return {'OK'}
