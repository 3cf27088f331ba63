#!lua flags=no-writes
-- The most engaged contents of one partition's window as of now, most first (ties: greater content id first).
-- KEYS[1] the partition's position; ARGV: tag, now (start of its bucket, seconds), window_s, limit.
-- Answers msgpack: [[content, events, ms, title, slug, content_type], ...].
local now, window_s, limit = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local state = redis.call('HMGET', KEYS[1], 'clock_us', 'generation')
local clock_us = tonumber(state[1] or 0)
local tag = state[2] and ARGV[1] .. state[2] .. ':' or ARGV[1]
local window_from = math.max(now, math.floor(clock_us / 10000000) * 10) - window_s

-- A quiet partition's clock stands still: buckets that have left the window since are still in its running sums.
local stale = redis.call('ZRANGEBYSCORE', tag .. 'buckets', '-inf', window_from)
if #stale > 0 and #stale == redis.call('ZCARD', tag .. 'buckets') then return cmsgpack.pack({}) end

local function in_stale(field)
  local sum = 0
  for _, start in ipairs(stale) do sum = sum + tonumber(redis.call('HGET', tag .. 'bucket:' .. start, field) or 0) end
  return sum
end

-- A running sum is never less than what is left of it, so reading may stop at the first that is below the last place.
local best, from = {}, 0
while true do
  local rows = redis.call('ZREVRANGE', tag .. 'window', from, from + limit - 1, 'WITHSCORES')
  for i = 1, #rows, 2 do
    local events = tonumber(rows[i + 1]) - in_stale(rows[i])
    if events > 0 then best[#best + 1] = {rows[i], events} end
  end
  if #stale == 0 or #rows < 2 * limit then break end
  table.sort(best, function(a, b) return a[2] > b[2] or (a[2] == b[2] and a[1] > b[1]) end)
  for i = #best, limit + 1, -1 do best[i] = nil end
  if #best == limit and tonumber(rows[#rows]) < best[limit][2] then break end
  from = from + limit
end
table.sort(best, function(a, b) return a[2] > b[2] or (a[2] == b[2] and a[1] > b[1]) end)

local answer = {}
for i = 1, math.min(limit, #best) do
  local id = best[i][1]
  local ms = tonumber(redis.call('HGET', tag .. 'window-ms', id) or 0) - in_stale(id .. ':ms')
  local about = redis.call('HMGET', tag .. 'content:' .. id, 'title', 'slug', 'content_type')
  answer[i] = {id, best[i][2], ms, about[1] or '', about[2] or '', about[3] or ''}
end
return cmsgpack.pack(answer)
