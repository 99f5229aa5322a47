-- ready: every other cleanup is fenced; what it condemned is free, operations and sessions may come.
-- KEYS  1-7 as in prelude
-- ARGV  1 epoch, 2 holder
-- Answers OK | LOST | TAKEN.
if not mine(ARGV[2]) then
  return {'TAKEN'}
end
clear(CONDEMNED)
redis.call('HSET', STATE, 'ready', '1')
return {'OK'}
