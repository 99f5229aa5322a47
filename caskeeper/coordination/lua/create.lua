-- create: the first state of a new volume; a state that is there stays as it is.
-- KEYS  1-7 as in prelude, 8 caskeeper:volume
-- ARGV  1 '', 2 volume id, 3 epoch, 4 used bytes
-- Answers OK | OTHER, the volume this database belongs to.
local owner = redis.pcall('GET', KEYS[8])
-- What no script writes names no volume: it is written anew.
if type(owner) == 'string' and string.match(owner, '^[%w._-]+$') and owner ~= ARGV[2] then
  return {'OTHER', owner}
end
redis.call('SET', KEYS[8], ARGV[2])
if not EPOCH then
  begin_epoch(ARGV[3], ARGV[4], '1', '0')
end
return {'OK'}
