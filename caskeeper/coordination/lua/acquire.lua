-- acquire: the one maintenance lease. A lost state begins anew here, whoever held the lease: that
-- holder is of an epoch whose scripts are all refused, and on the volume it is fenced.
-- KEYS  1-7 as in prelude, 8 caskeeper:volume
-- ARGV  1 '', 2 volume id, 3 holder, 4 purpose, 5 life_ms, 6 a new epoch, 7 waiting period in ms
-- Answers OK, epoch, 1 = not ready yet | HELD | OTHER, the volume this database belongs to.
local owner = redis.pcall('GET', KEYS[8])
-- What no script writes names no volume: it is written anew.
if type(owner) == 'string' and string.match(owner, '^[%w._-]+$') and owner ~= ARGV[2] then
  return {'OTHER', owner}
end
if LOST or not sessions_whole() or not operations_whole() then
  begin_epoch(ARGV[6], '0', '0', int(NOW + tonumber(ARGV[7])))
  READY = false
else
  local lease = redis.call('HMGET', CLEANUP, 'holder', 'expires_ms')
  if lease[1] ~= '' and lease[1] ~= ARGV[3] and (integer(lease[2]) or 0) > NOW then
    return {'HELD'}
  end
end
redis.call('SET', KEYS[8], ARGV[2])
redis.call('HSET', CLEANUP, 'holder', ARGV[3], 'purpose', ARGV[4],
  'expires_ms', int(NOW + tonumber(ARGV[5])))
return {'OK', EPOCH, READY and 0 or 1}
