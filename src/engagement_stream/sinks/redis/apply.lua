#!lua
-- Applies one batch of one partition and moves its fence, both or neither.
-- KEYS[1] the partition's position; ARGV: tag, prev, end, window_s, recent_events, payload (fold.py packs it), generation,
-- and which fence: `fence`, or `replays_fence` for dead letters that were sent back.
-- Answers {verdict, fence}: OK applied; DUP applied before; TRIM applied up to the fence, send the rest;
-- GAP what lies before is missing here; TORN an earlier run broke off in the middle; MOVED a rebuild has put another
-- generation here, with a fence of its own and another rule of what it passes over.
local prev, stop = tonumber(ARGV[2]), tonumber(ARGV[3])
local window_s, keep = tonumber(ARGV[4]), tonumber(ARGV[5])

local state = redis.call('HMGET', KEYS[1], ARGV[8], 'clock_us', 'applying', 'generation')
local fence = tonumber(state[1] or 0)
if state[3] then return {'TORN', fence} end
if (state[4] or '') ~= ARGV[7] then return {'MOVED', fence} end
local tag = state[4] and ARGV[1] .. state[4] .. ':' or ARGV[1]
if fence ~= prev then
  if fence >= stop then return {'DUP', fence} end
  if fence > prev then return {'TRIM', fence} end
  return {'GAP', fence}
end

local batch = cmsgpack.unpack(ARGV[6])
-- Scripts do not roll back. Nothing below is expected to fail (the batch was checked before it was packed); should it
-- fail all the same, over a key of somebody else's say, this mark stays and nothing is ever applied twice.
redis.call('HSET', KEYS[1], 'applying', ARGV[3])

local counters = {'events', 'play', 'pause', 'finish', 'click', 'untyped', 'ms', 'timed'}
local described = {'as_of', 'title', 'slug', 'content_type'}
local clock_us = math.max(tonumber(state[2] or 0), batch[1])
local window_from = math.floor(clock_us / 10000000) * 10 - window_s
local buckets, window, window_ms = tag .. 'buckets', tag .. 'window', tag .. 'window-ms'

-- A call costs more than what it does, so the window is changed for many contents at a time (`unpack` takes some thousand).
local function shift(ids, events, ms, sign)
  for first = 1, #ids, 1000 do
    local last = math.min(first + 999, #ids)
    local counts = redis.call('ZMSCORE', window, unpack(ids, first, last))
    local sums = redis.call('HMGET', window_ms, unpack(ids, first, last))
    local ranked, timed, gone = {}, {}, {}
    for i = first, last do
      local left = tonumber(counts[i - first + 1] or 0) + sign * events[i]
      if left > 0 then
        ranked[#ranked + 1] = left
        ranked[#ranked + 1] = ids[i]
        timed[#timed + 1] = ids[i]
        timed[#timed + 1] = tonumber(sums[i - first + 1] or 0) + sign * ms[i]
      else
        gone[#gone + 1] = ids[i]
      end
    end
    if #ranked > 0 then
      redis.call('ZADD', window, unpack(ranked))
      redis.call('HSET', window_ms, unpack(timed))
    end
    if #gone > 0 then
      redis.call('ZREM', window, unpack(gone))
      redis.call('HDEL', window_ms, unpack(gone))
    end
  end
end

-- Take what left the window out of the running sums. A batch pays for whole buckets up to a budget, so that one after a
-- long pause does not block the server; what stays over is passed over by readers and paid for by the next batch.
local function let_go()
  local stale = redis.call('ZRANGEBYSCORE', buckets, '-inf', window_from)
  if #stale == 0 then return end
  if #stale == redis.call('ZCARD', buckets) then
    redis.call('UNLINK', window, window_ms, buckets)
    for _, start in ipairs(stale) do redis.call('UNLINK', tag .. 'bucket:' .. start) end
    return
  end
  local budget = 5000
  for _, start in ipairs(stale) do
    if budget <= 0 then return end
    local held = redis.call('HGETALL', tag .. 'bucket:' .. start)
    local ids, events, ms, ms_of = {}, {}, {}, {}
    for i = 1, #held, 2 do
      if string.sub(held[i], -3) == ':ms' then
        ms_of[string.sub(held[i], 1, -4)] = tonumber(held[i + 1])
      else
        ids[#ids + 1] = held[i]
        events[#ids] = tonumber(held[i + 1])
      end
    end
    for i, id in ipairs(ids) do ms[i] = ms_of[id] or 0 end
    shift(ids, events, ms, -1)
    redis.call('UNLINK', tag .. 'bucket:' .. start)
    redis.call('ZREM', buckets, start)
    budget = budget - #ids
  end
end
let_go()

local by_bucket = {} -- start -> {fields, amounts}
local entered, entered_events, entered_ms = {}, {}, {}
local contents, users_of, recent_of = tag .. 'content:', tag .. 'users:', tag .. 'recent:'
local call = redis.call -- the loop below is most of what a batch costs: few tables, no `#`, no global names
for _, content in ipairs(batch[3]) do
  local id, added, description, users, recent, seen = unpack(content)
  local known = call('HMGET', contents .. id, 'events', 'play', 'pause', 'finish', 'click', 'untyped', 'ms', 'timed',
    'as_of', 'title', 'slug', 'content_type')
  local set, n = {}, 0
  for i = 1, 8 do
    local held, more = known[i], added[i]
    if more ~= 0 or not held then
      set[n + 1], set[n + 2] = counters[i], tonumber(held or 0) + more
      n = n + 2
    end
  end
  local as_of = description[1]
  if as_of and as_of >= (known[9] or '') then
    set[n + 1], set[n + 2] = 'as_of', as_of
    n = n + 2
    for i = 2, 4 do
      if description[i] ~= known[i + 8] then
        set[n + 1], set[n + 2] = described[i], description[i]
        n = n + 2
      end
    end
  end
  call('HSET', contents .. id, unpack(set, 1, n))
  if users[1] then call('PFADD', users_of .. id, unpack(users)) end
  call('ZADD', recent_of .. id, unpack(recent)) -- score, member, ...
  if added[1] + tonumber(known[1] or 0) > keep then call('ZREMRANGEBYRANK', recent_of .. id, 0, -keep - 1) end
  local events, ms = 0, 0
  for _, part in ipairs(seen) do
    local start = part[1]
    if start > window_from then
      local bucket = by_bucket[start]
      if not bucket then
        bucket = {{}, {}}
        by_bucket[start] = bucket
      end
      local at = #bucket[1]
      bucket[1][at + 1], bucket[2][at + 1] = id, part[2]
      if part[3] ~= 0 then bucket[1][at + 2], bucket[2][at + 2] = id .. ':ms', part[3] end
      events, ms = events + part[2], ms + part[3]
    end
  end
  if events > 0 then
    entered[#entered + 1] = id
    entered_events[#entered], entered_ms[#entered] = events, ms
  end
end

shift(entered, entered_events, entered_ms, 1)
for start, bucket in pairs(by_bucket) do
  local key = tag .. 'bucket:' .. start
  redis.call('ZADD', buckets, start, start)
  local fields, amounts = bucket[1], bucket[2]
  for first = 1, #fields, 1000 do
    local last = math.min(first + 999, #fields)
    local held = redis.call('HMGET', key, unpack(fields, first, last))
    local set = {}
    for i = first, last do
      set[#set + 1] = fields[i]
      set[#set + 1] = tonumber(held[i - first + 1] or 0) + amounts[i]
    end
    redis.call('HSET', key, unpack(set))
  end
end

local totals = batch[2]
for i, name in ipairs(counters) do
  if totals[1][i] ~= 0 then redis.call('HINCRBY', tag .. 'totals', name, totals[1][i]) end
end
for i, name in ipairs({'no_content', 'future', 'dead_letters'}) do
  if totals[i + 1] ~= 0 then redis.call('HINCRBY', tag .. 'totals', name, totals[i + 1]) end
end

redis.call('HSET', KEYS[1], ARGV[8], ARGV[3], 'clock_us', clock_us)
redis.call('HDEL', KEYS[1], 'applying')
return {'OK', stop}
