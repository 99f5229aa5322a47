-- events_of: what a page of the event log says of one ref, the newest first. Changes nothing.
-- KEYS  1 events
-- ARGV  1 ref, 2 the newest id of the page or '+', 3 how many entries are looked at
-- Answers OK, the newest id of the next page or '', the oldest id of the log or '', then per entry of the
-- ref: id, what, the rest as JSON.
if redis.call('TYPE', KEYS[1]).ok ~= 'stream' then
  return {'OK', '', ''}
end
local page = redis.call('XREVRANGE', KEYS[1], ARGV[2], '-', 'COUNT', ARGV[3])
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
local answer = {'OK', #page == tonumber(ARGV[3]) and '(' .. page[#page][1] or '', oldest and oldest[1] or ''}
for _, entry in ipairs(page) do
  local fields = entry[2]
  if fields[1] == 'ref' and fields[2] == ARGV[1] and fields[3] == 'what' and fields[5] == 'more' then
    answer[#answer + 1] = entry[1]
    answer[#answer + 1] = fields[4]
    answer[#answer + 1] = fields[6]
  end
end
return answer
