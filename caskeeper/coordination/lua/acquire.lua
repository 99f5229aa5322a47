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
-- Whoever holds a lease that goes on for ever is fenced on the volume, as when it is over.
local waits_for_ever = EVICT_FROM > NOW and not goes_on(EVICT_FROM, ARGV[7], HOUR)
if LOST or waits_for_ever or not sessions_whole() or not operations_whole() then
  begin_epoch(ARGV[6], '0', '0', int(NOW + tonumber(ARGV[7])))
  READY = false
elseif lease[1] ~= '' and lease[1] ~= ARGV[3] and goes_on(lease[3], ARGV[5], HOUR) then
  return {'HELD'}
end
redis.call('SET', KEYS[8], ARGV[2])
local reserved = 0
for _, text in pairs(entries(OPERATIONS)) do
  reserved = reserved + tonumber(operation_of(text).reserved_bytes)
end
redis.call('HSET', USAGE, 'reserved', int(reserved))  -- whoever changed it was none of us
redis.call('HSET', CLEANUP, 'holder', ARGV[3], 'purpose', ARGV[4],
  'expires_ms', int(NOW + tonumber(ARGV[5])))
return {'OK', EPOCH, READY and 0 or 1}
