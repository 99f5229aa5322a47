-- read: one structure as it is. Changes nothing.
-- KEYS  1-7 as in prelude
-- ARGV  1 '', 2 number of the structure's key
-- Answers OK, now_ms, known, then field and value in turn | LOST.
if KEYS[tonumber(ARGV[2])] == OPERATIONS and not operations_whole() then
  return {'LOST'}
end
local answer = {'OK', int(NOW), KNOWN and 1 or 0}
if KEYS[tonumber(ARGV[2])] == USAGE then  -- what else stands there was written by nobody of us
  return {'OK', int(NOW), KNOWN and 1 or 0, 'used', counters[2], 'reserved', counters[3],
    'added_total', counters[4], 'converted', counters[5]}
elseif KEYS[tonumber(ARGV[2])] == CLEANUP then
  return {'OK', int(NOW), KNOWN and 1 or 0, 'holder', lease[1], 'purpose', lease[2], 'expires_ms', lease[3]}
end
for field, value in pairs(entries(KEYS[tonumber(ARGV[2])])) do
  answer[#answer + 1] = field
  answer[#answer + 1] = value
end
return answer
