-- renew: the operation lives on. An expired one does too, until a cleanup marked it dying.
-- KEYS  1-7 as in prelude
-- ARGV  1 epoch, 2 operation, 3 life_ms, 4 maximum life in ms
-- Answers OK | LOST | GONE | DYING | OVER.
local record, why = operation(ARGV[2])
if not record then
  return {why}
elseif record.dying then
  return {'DYING'}
elseif NOW - tonumber(record.started_ms) > tonumber(ARGV[4]) then
  return {'OVER'}
end
record.expires_ms = int(NOW + tonumber(ARGV[3]))
keep_operation(ARGV[2], record)
return {'OK'}
