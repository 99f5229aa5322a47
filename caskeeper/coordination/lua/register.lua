-- register: an operation becomes known, or known again after a loss; what is there stays. What it had claimed
-- it claims again in the same step: between two, a cleanup could take that away. Its own figure replaces the
-- one that was expected of it; afterwards nothing is taken off here, since a call may arrive late.
-- KEYS  1-7 as in prelude
-- ARGV  1 '', 2 operation, 3 verb, 4 subject, 5 host, 6 reserved bytes, 7 life_ms, 8 maximum life in ms,
--       9.. `root:<hash>` and `ref:<name>`
-- Answers OK, epoch | LOST | UNREADY | DYING | OVER | CONDEMNED.
if not READY then
  return {'UNREADY'}
end
local id = ARGV[2]
local record, why = operation(id)
if not record and why == 'LOST' then
  return {'LOST'}
elseif not record then
  record = {verb = ARGV[3], subject = ARGV[4], host = ARGV[5], started_ms = int(NOW),
    reserved_bytes = '0', dying = false, claims = {}}
elseif record.dying then
  return {'DYING'}
elseif NOW - tonumber(record.started_ms) > tonumber(ARGV[8]) then
  return {'OVER'}
end
if not claim_from(9, record) then
  return {'CONDEMNED'}
end
if record.expected then
  record.verb, record.subject, record.host, record.expected = ARGV[3], ARGV[4], ARGV[5], nil
  lower('reserved', record.reserved_bytes)
  record.reserved_bytes = '0'
end
local missing = tonumber(ARGV[6]) - tonumber(record.reserved_bytes)
if missing > 0 then
  redis.call('HINCRBY', USAGE, 'reserved', int(missing))
  record.reserved_bytes = ARGV[6]
end
record.expires_ms = int(NOW + tonumber(ARGV[7]))
keep_operation(id, record)
return {'OK', EPOCH}
