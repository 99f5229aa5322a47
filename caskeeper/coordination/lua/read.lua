-- read: one structure as it is. Changes nothing.
-- KEYS  1-7 as in prelude
-- ARGV  1 '', 2 number of the structure's key
-- Answers OK, now_ms, known, then field and value in turn | LOST.
if KEYS[tonumber(ARGV[2])] == OPERATIONS and not operations_whole() then
  return {'LOST'}
end
local answer = {'OK', int(NOW), KNOWN and 1 or 0}
for field, value in pairs(entries(KEYS[tonumber(ARGV[2])])) do
  answer[#answer + 1] = field
  answer[#answer + 1] = value
end
return answer
