"""Nothing in; out, what Redis does in one step with readings: each script is done whole, or not at all."""

# KEYS: the stream, then the marks of the ids. ARGV: longest stream, seconds, then digest, who, sealed, content of each
ADD = """
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
local found = {}
for i = 2, #KEYS do
  local at = 3 + 4 * (i - 2)
  local held = redis.call('GET', KEYS[i])
  if held == ARGV[at] then found[i - 1] = 0
  elseif held then found[i - 1] = -1
  else
    redis.call('SET', KEYS[i], ARGV[at], 'EX', ARGV[2])
    redis.call('XADD', KEYS[1], '*', 'w', ARGV[at + 1], 's', ARGV[at + 2], 'o', ARGV[at + 3])
    found[i - 1] = 1
  end
end
return found
"""
# KEYS: the person's hash, the mark of the forgotten, the set of people. ARGV: who, sealed, seconds, then code and
# content (its first 31 characters its order) of each
APPLY = """
if redis.call('EXISTS', KEYS[2]) == 1 then return {} end
local latest = 0
for i = 4, #ARGV, 2 do
  local field = 'v:' .. ARGV[i]
  local held = redis.call('HGET', KEYS[1], field)
  if not held or string.sub(ARGV[i + 1], 1, 31) > string.sub(held, 1, 31) then
    redis.call('HSET', KEYS[1], field, ARGV[i + 1])
    latest = math.max(latest, tonumber(string.sub(ARGV[i + 1], 1, 15)))
  end
end
if latest > 0 then
  redis.call('HSET', KEYS[1], 'who', ARGV[2])
  redis.call('HINCRBY', KEYS[1], 'rev', 1)
  redis.call('EXPIRE', KEYS[1], ARGV[3])
  redis.call('ZADD', KEYS[3], 'GT', latest, ARGV[1])
end
return redis.call('HGETALL', KEYS[1])
"""
# KEYS: the person's hash, later, events, due, deliveries. ARGV: who, rev, told, when to look again (or ''), longest
# stream, when to deliver (or '': nobody to deliver to), sealed, events ...
SETTLE = """
if redis.call('HGET', KEYS[1], 'rev') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'told', ARGV[3])
redis.call('HINCRBY', KEYS[1], 'rev', 1)
if ARGV[4] == '' then redis.call('ZREM', KEYS[2], ARGV[1]) else redis.call('ZADD', KEYS[2], ARGV[4], ARGV[1]) end
for i = 8, #ARGV do
  local id = redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[5], '*', 'w', ARGV[1], 's', ARGV[7], 'e', ARGV[i])
  if ARGV[6] ~= '' then
    redis.call('ZADD', KEYS[4], ARGV[6], id)
    redis.call('HSET', KEYS[5], id, '0 ' .. ARGV[1] .. ' ' .. string.len(ARGV[7]) .. ' ' .. ARGV[7] .. ARGV[i])
  end
end
return 1
"""
# KEYS: the person's hash, people, later. ARGV: who, rev, then codes that are not needed any more
DROP = """
if redis.call('HGET', KEYS[1], 'rev') ~= ARGV[2] then return 0 end
for i = 3, #ARGV do redis.call('HDEL', KEYS[1], 'v:' .. ARGV[i]) end
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 2) == 'v:' then return redis.call('HINCRBY', KEYS[1], 'rev', 1) end
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
return redis.call('DEL', KEYS[1])
"""
