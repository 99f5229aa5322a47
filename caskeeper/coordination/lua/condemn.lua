-- condemn: a group may be taken away, unless somebody needs it or it is too early; all or none.
-- KEYS  1-7 as in prelude, and every session:<id>
-- ARGV  1 epoch, 2 holder, 3.. `root:<hash>`, `ref:<name>`, `key:<key>`
-- Answers OK | UNKNOWN | EARLY, evict_from_ms | SESSION, id, key | OPERATION, id, verb, member
--         | LOST | UNREADY | TAKEN.
if not mine(ARGV[2]) then
  return {'TAKEN'}
elseif not READY then
  return {'UNREADY'}
elseif NOW < EVICT_FROM then
  return {'EARLY', int(EVICT_FROM)}
elseif not KNOWN then
  return {'UNKNOWN'}
elseif not sessions_whole() or not operations_whole() then
  return {'LOST'}
end
for id, text in pairs(entries(SESSIONS)) do
  if session_live(session_of(text)) then
    for n = 3, #ARGV do
      local key = string.match(ARGV[n], '^key:(.*)$')
      if key and redis.call('SISMEMBER', session_key(id), key) == 1 then
        return {'SESSION', id, key}
      end
    end
  end
end
for n = 3, #ARGV do
  if redis.call('HEXISTS', CLAIMS, ARGV[n]) == 1 then
    for id, text in pairs(entries(OPERATIONS)) do
      local record = operation_of(text)
      for _, member in ipairs(record.claims) do
        if member == ARGV[n] then
          return {'OPERATION', id, record.verb, member}
        end
      end
    end
    return {'OPERATION', '?', '?', ARGV[n]}
  end
end
for n = 3, #ARGV do
  redis.call('HSET', CONDEMNED, ARGV[n], ARGV[2])
end
return {'OK'}
