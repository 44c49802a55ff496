#!lua name=tidegate1
-- Counts for a whole fleet: windows, different values, scores; hands out what crossed its limit.
-- Touches only keys with the hash tag of the shard it is called for, all of which expire.
-- Limits: no number above 2^53; what a host says is checked by whoever acts on it, not here.
--
-- All times are milliseconds since 1970. Numbers are big endian. Keys of shard NN:
--   {tg:NN}h:HOST      epoch 3, counter 5, minute 5, new keys in it 4, the last answer
--   {tg:NN}p           sorted set: crossings that nobody has confirmed, by when they are due again
--   {tg:NN}w:MARK:SUBJECT  a window: floor 6, then entries: time 6, host 4, place 6
--   {tg:NN}d:MARK:SUBJECT  different values: floor 6, then entries: time 6, host 4, value 8
--   {tg:NN}s:MARK:SUBJECT  a score: floor 6, newest 6, epoch 6, two sums 8 each, then as a window
-- Functions here name keys that were not passed in KEYS: they have the tag of one that was, and so
-- its slot in a cluster.

local LATE = 900000      -- how long behind the engine's time an event may come and still be in time
local SKEW = 60000       -- how far a host's clock may be from the engine's
local REST = 10000       -- so long after a crossing nothing counts: those are hits on a closed gate
local LEASE = 2000       -- who was handed a crossing has so long to confirm it
local UNANSWERED = 300000 -- a crossing that nobody confirms for so long is dropped
local PENDING = 10000    -- crossings of a shard that can wait for being confirmed
local HANDED = 16        -- crossings handed out again in one call
local KEPT = 86400000    -- how long a host's last answer is kept
local QUOTA = 20000      -- new keys a host may cause in a minute and shard
local MOST = 64          -- keys in one call
local LONGEST = 160      -- bytes of a key
local NEED = 1025        -- the highest limit of a window or of different values
local RECENT = 32        -- entries a score keeps, to know one that comes twice
local HALVINGS = 16      -- half-lives in an epoch of a score
local FINE = 1048576     -- a point, in the units of the sums of a score
local SHORTEST = 1000    -- the shortest half-life of a score
local LEAST = 1 / 64     -- a score below this is none
local MESSAGES = 100     -- messages that are read in one round
local LARGEST = 1052672  -- bytes of a message: a list of the revoked has the most, 1 MiB
local USUAL = 66048      -- bytes of a message of a member, at most
local PAGE = 15728640    -- bytes of what is kept that are read at once
local AT_ONCE = 8388608  -- bytes of messages that are read in one round
local STAYS = 10000      -- for so long a host is in service in a pool that does not say so again
local AHEAD = 600000     -- a stream that ends so far ahead was ended by somebody
local HIGHEST = 4503599627370496

local COUNTED, OLD, GAP, SKEWED = 1, 2, 3, 4

-- What a key holds that is ours; what is of another type was put there by somebody else.
local function held(key)
  local found = redis.pcall('GET', key)
  return type(found) == 'string' and found
end

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A window or a set of values as (floor, times, names); `wide` is the length of a name. What is of
-- a time to come (later than any clock of ours may be) was put there by somebody else.
local function opened(stored, wide, oldest, latest)
  local times, names = {}, {}
  if not stored or #stored < 6 or (#stored - 6) % (6 + wide) ~= 0 then return 0, times, names end
  local base, at = struct.unpack('>I6', stored)
  if base > latest then return 0, times, names end
  while at <= #stored do
    local time = struct.unpack('>I6', stored, at)
    if time >= oldest and time <= latest then
      times[#times + 1] = time
      names[#names + 1] = string.sub(stored, at + 6, at + 5 + wide)
    end
    at = at + 6 + wide
  end
  return base, times, names
end

local function closed(head, times, names)
  local parts = { head }
  for i = 1, #times do
    parts[#parts + 1] = struct.pack('>I6', times[i])
    parts[#parts + 1] = names[i]
  end
  return table.concat(parts)
end

-- Put it behind everything that is not newer: what arrives later comes later.
local function put(times, names, time, name)
  local at = #times
  while at > 0 and times[at] > time do at = at - 1 end
  table.insert(times, at + 1, time)
  table.insert(names, at + 1, name)
end

local function known(times, names, time, name)
  local at = #times
  while at > 0 and times[at] > time do at = at - 1 end
  while at > 0 and times[at] == time do
    if names[at] == name then return true end
    at = at - 1
  end
  return false
end

-- Of a value the newest time counts. Whether this was news.
local function renewed(times, names, time, name)
  local value = string.sub(name, 5)
  for i = 1, #times do
    if string.sub(names[i], 5) == value then
      if times[i] >= time then return false end
      table.remove(times, i)
      table.remove(names, i)
      break
    end
  end
  put(times, names, time, name)
  return true
end

local function hosts(names, from, to)
  local seen, found = {}, {}
  for i = from, to do
    local tag = string.sub(names[i], 1, 4)
    if not seen[tag] then
      seen[tag] = true
      found[#found + 1] = tag
    end
  end
  return found
end

-- What is handed out for a crossing. Its bytes are its name, so they hold nothing that changes.
local function crossing(call, key, first, last, count, tags)
  local form, mark, subject = string.match(key, '}(%a):([^:]*):(.*)$')
  call.crossed[#call.crossed + 1] = struct.pack('>I6I6I6I4I2', call.now, first, last, count, #tags)
    .. table.concat(tags) .. form .. ':' .. mark .. ':' .. subject
end

local function window(call, key, stored, body, different)
  local need, within = struct.unpack('>I2I6', body)
  local wide = different and 12 or 10
  local oldest = call.now - within - LATE
  local base, times, names = opened(stored, wide, oldest, call.now + LATE)
  for at = 9, #body, wide + 2 do
    local time = struct.unpack('>I6', body, at)
    local name = call.tag .. string.sub(body, at + 6, at + 1 + wide)
    if time > call.now + SKEW then call.ahead = call.ahead + 1
    elseif time < oldest then call.late = call.late + 1
    elseif time < base then call.rested = call.rested + 1
    elseif different then
      if not renewed(times, names, time, name) then call.twice = call.twice + 1 end
    elseif known(times, names, time, name) then call.twice = call.twice + 1
    else put(times, names, time, name) end
  end
  local i = 1
  while i + need - 1 <= #times do
    local last = times[i + need - 1]
    if last - times[i] <= within then
      crossing(call, key, times[i], last, need, hosts(names, i, i + need - 1))
      base, i = last + REST, 1
      while #times > 0 and times[1] < base do
        table.remove(times, 1)
        table.remove(names, 1)
      end
    else
      i = i + 1
    end
  end
  while #times > 4 * need do
    table.remove(times, 1)
    table.remove(names, 1)
  end
  local newest = math.max(base, times[#times] or 0)
  if newest >= oldest then
    return closed(struct.pack('>I6', base), times, names), newest + within + LATE - call.now
  end
end

local function fading(state, time, span)
  local total = state.now + math.floor(state.before / 2 ^ HALVINGS)
  return total / FINE * 2 ^ ((state.epoch * span * HALVINGS - time) / span)
end

local function bounded(sum) return math.max(-HIGHEST, math.min(sum, HIGHEST)) end

-- Points are weighed as of the beginning of their epoch, in whole numbers: in any order the same.
local function give(state, time, points, span)
  local epoch = math.floor(time / (span * HALVINGS))
  if epoch < state.epoch - 1 then return end
  if epoch > state.epoch then
    state.before = epoch == state.epoch + 1 and state.now or 0
    state.now, state.epoch = 0, epoch
  end
  local weight = math.floor(points * 2 ^ ((time - epoch * span * HALVINGS) / span) * FINE + 0.5)
  if epoch == state.epoch then state.now = bounded(state.now + weight)
  else state.before = bounded(state.before + weight) end
  state.newest = math.max(state.newest, time)
end

local function score(call, key, stored, body, over)
  local limit, span = struct.unpack('>I2I6', body)
  local oldest = call.now - span - LATE
  local state = { floor = 0, newest = 0, epoch = 0, before = 0, now = 0 }
  local times, names = {}, {}
  if stored and #stored >= 34 and (#stored - 34) % 16 == 0 then
    state.floor, state.newest, state.epoch, state.before, state.now =
      struct.unpack('>I6I6I6i8i8', stored)
    local last = math.max(state.floor, state.newest)
    local sums = math.max(math.abs(state.before), math.abs(state.now))
    local epoch = math.floor((call.now + LATE) / (span * HALVINGS))
    local strange = last > call.now + LATE or state.epoch > epoch or sums > HIGHEST
    if strange or last < oldest and math.abs(fading(state, call.now, span)) < LEAST then
      state = { floor = 0, newest = 0, epoch = 0, before = 0, now = 0 }
    else
      local at = 35
      while at <= #stored do
        times[#times + 1] = struct.unpack('>I6', stored, at)
        names[#names + 1] = string.sub(stored, at + 6, at + 15)
        at = at + 16
      end
    end
  end
  for at = 9, #body, 14 do
    local time = struct.unpack('>I6', body, at)
    local name = call.tag .. string.sub(body, at + 6, at + 11)
    local points = struct.unpack('>i2', body, at + 12)
    if time > call.now + SKEW then call.ahead = call.ahead + 1
    elseif time < oldest then call.late = call.late + 1
    elseif known(times, names, time, name) then call.twice = call.twice + 1
    else
      give(state, time, points, span)
      put(times, names, time, name)
    end
  end
  while #times > RECENT do
    table.remove(times, 1)
    table.remove(names, 1)
  end
  if #times == 0 then return end
  -- To the thousandth: what was rounded when it was weighed must not decide what is just the limit.
  local points = math.floor(fading(state, state.newest, span) * 1024 + 0.5) / 1024
  if state.newest >= state.floor and (points > limit or not over and points == limit) then
    local whole = math.min(math.floor(points), 4294967295)
    crossing(call, key, times[1], state.newest, whole, hosts(names, 1, #names))
    state.floor = state.newest + REST
  end
  local left_over = math.abs(fading(state, call.now, span))
  local halvings = math.log(math.max(left_over / LEAST, 1)) / math.log(2)
  local head = struct.pack('>I6I6I6i8i8',
    state.floor, state.newest, state.epoch, state.before, state.now)
  local left = math.max(state.floor, state.newest) + span + LATE - call.now
  return closed(head, times, names), math.max(halvings * span, left)
end

local FORMS = {
  w = { 12, function(call, key, stored, body) return window(call, key, stored, body, false) end },
  d = { 14, function(call, key, stored, body) return window(call, key, stored, body, true) end },
  s = { 14, function(call, key, stored, body) return score(call, key, stored, body, true) end },
  a = { 14, function(call, key, stored, body) return score(call, key, stored, body, false) end },
}

-- Nothing is written before all of a call is known to be right: functions are not rolled back.
local function fault(keys, args)
  local tag = #keys > 0 and string.match(keys[1], '^({tg:%d+})h:[%w._-]+$')
  if not tag then return 'the first key must be {tg:NN}h:HOST' end
  if #keys > MOST + 1 then return 'more than ' .. MOST .. ' keys' end
  if #args ~= #keys then return 'a head, and a body for each key' end
  if #args[1] ~= 16 then return 'a head has 16 bytes' end
  for i = 2, #keys do
    local own, form = string.match(keys[i], '^({tg:%d+})(%a):[%w_-]+:[%w:./@\\_-]+$')
    local wide = FORMS[form] and FORMS[form][1]
    if own ~= tag or not wide or #keys[i] > LONGEST then return 'key ' .. i .. ' is of another shard or no form' end
    local body = args[i]
    if #body <= 8 or (#body - 8) % wide ~= 0 then return 'body ' .. i .. ' is cut' end
    local need, within = struct.unpack('>I2I6', body)
    if need < 1 or within < 1 or within > 2592000000 then return 'body ' .. i .. ' has no limit' end
    local scored = form == 's' or form == 'a'
    if not scored and need > NEED then return 'the limit is above ' .. NEED end
    if scored and within < SHORTEST then return 'the half-life is too short' end
    if (#body - 8) / wide > NEED then return 'body ' .. i .. ' has too many entries' end
  end
end

-- Crossings whose holder did not confirm them in time, to whoever calls.
local function due(pending, now, found)
  local late = redis.pcall('ZRANGEBYSCORE', pending, '-inf', now, 'LIMIT', 0, HANDED)
  if late.err then  -- somebody else's: it goes at once, and until then nothing can wait
    redis.call('SET', pending, '', 'PX', 1)
    return false
  end
  for _, one in ipairs(late) do
    local sane = #one >= 24 and #one < 5000
    local age = sane and now - struct.unpack('>I6', one)
    if not sane or age > UNANSWERED or age < -SKEW then
      redis.call('ZREM', pending, one)
    else
      redis.call('ZADD', pending, now + LEASE, one)
      found[#found + 1] = one
    end
  end
  return true
end

local function framed(found)
  local parts = {}
  for _, one in ipairs(found) do parts[#parts + 1] = struct.pack('>I2', #one) .. one end
  return table.concat(parts)
end

-- KEYS: the host's record, then one key per sum. ARGS: a head (epoch 3, counter 5, how far back
-- the oldest is that the host could send again 2, the host's clock 6), then one body per sum.
local function count(keys, args)
  local wrong = fault(keys, args)
  if wrong then return redis.error_reply('ERR tidegate: ' .. wrong) end
  local now = clock()
  local epoch, counter, back, sent = struct.unpack('>I3I5I2I6', args[1])
  local head = struct.pack('>I6', now)
  if math.abs(sent - now) > SKEW then
    return head .. struct.pack('>BI3I5', SKEWED, epoch, counter)
  end
  local last, minute, created = 0, math.floor(now / 60000), 0
  local record = held(keys[1])
  if record and #record >= 26 then
    local old, done, then_, new = struct.unpack('>I3I5I5I4', record)
    if epoch < old or (epoch == old and counter < done) then
      return head .. struct.pack('>BI3I5', OLD, old, done)
    end
    if epoch == old then
      if counter == done then return head .. string.sub(record, 18) end
      last = done
    end
    if then_ == minute then created = new end
  end
  local expected = math.max(last + 1, counter - back)
  if counter ~= expected then return head .. struct.pack('>BI3I5', GAP, epoch, expected - 1) end

  local tag, host = string.match(keys[1], '^({.-})h:(.*)$')
  local call = {
    now = now, crossed = {}, ahead = 0, late = 0, rested = 0, twice = 0, refused = 0,
    tag = struct.pack('>I4', tonumber(string.sub(redis.sha1hex(host), 1, 8), 16)),
  }
  for i = 2, #keys do
    local stored = held(keys[i])
    if not stored and created >= QUOTA then
      call.refused = call.refused + 1
    else
      local form = string.match(keys[i], '}(%a):')
      local value, left = FORMS[form][2](call, keys[i], stored, args[i])
      if value then
        if not stored then created = created + 1 end
        redis.call('SET', keys[i], value, 'PX', string.format('%.0f', math.ceil(left) + 1))
      end
    end
  end

  local pending = tag .. 'p'
  local found, lost = {}, 0
  local room = 0
  if due(pending, now, found) then
    room = PENDING - (#call.crossed > 0 and redis.call('ZCARD', pending) or 0)
  end
  for _, one in ipairs(call.crossed) do
    found[#found + 1] = one
    if room > 0 then redis.call('ZADD', pending, now + LEASE, one) else lost = lost + 1 end
    room = room - 1
  end
  if #found > 0 then redis.call('PEXPIRE', pending, 2 * UNANSWERED) end
  local answer = struct.pack('>BI3I5', COUNTED, epoch, counter)
  local troubles = call.ahead + call.late + call.rested + call.twice + call.refused + lost
  if troubles + #found > 0 then
    answer = answer .. struct.pack('>I4I4I4I4I4I4', call.ahead, call.late, call.rested, call.twice,
      call.refused, lost) .. framed(found)
  end
  record = struct.pack('>I3I5I5I4', epoch, counter, minute, created) .. answer
  redis.call('SET', keys[1], record, 'PX', KEPT)
  return head .. answer
end

-- KEYS: where crossings of shards wait. The engine's time, and those that are due again.
local function waiting(keys)
  local now, found = clock(), {}
  for _, pending in ipairs(keys) do due(pending, now, found) end
  return struct.pack('>I6', now) .. framed(found)
end

-- KEYS: where crossings of a shard wait. ARGS: crossings as handed out. How many of them were open.
local function confirm(keys, args)
  if #keys ~= 1 or #args == 0 or #args > MOST then
    return redis.error_reply('ERR tidegate: a key and crossings')
  end
  local open = 0
  for _, one in ipairs(args) do open = open + redis.call('ZREM', keys[1], one) end
  return open
end

-- KEYS: the stream of what is said. ARGS: the place behind which to read, and how many messages at
-- most. The place of the last, then the lengths and bytes of all; nothing where there are none. What
-- XREAD says of each besides, its own place and how its fields are called, is 45 bytes that go to
-- every host. A message that is none of ours is of length 0, and so is one that is larger than any of
-- ours: whoever may say something must not make all hosts read more than they take at once.
local function heard(keys, args)
  if #keys ~= 1 or #args ~= 2 then return redis.error_reply('ERR tidegate: a stream, a place, a number') end
  local found = redis.call('XRANGE', keys[1], '(' .. args[1], '+', 'COUNT', args[2])
  if #found == 0 then return false end
  local parts, last, size = { '' }, '', 0
  for _, one in ipairs(found) do
    local fields = one[2]
    local body = #fields == 2 and fields[1] == 'm' and #fields[2] <= LARGEST and fields[2] or ''
    if size > 0 and size + #body > AT_ONCE then break end
    parts[#parts + 1] = struct.pack('>I3', #body)
    parts[#parts + 1] = body
    last, size = one[1], size + #body
  end
  parts[1] = struct.pack('>B', #last) .. last
  return table.concat(parts)
end

-- KEYS: all that is kept. ARGS: a cursor, and how much at once. As HSCAN, but without the names and
-- what is larger than any of ours; where there is too much at once, the small come first.
local function page(keys, args)
  if #keys ~= 1 or #args ~= 2 then return redis.error_reply('ERR tidegate: a hash, a cursor, a number') end
  local reply = redis.call('HSCAN', keys[1], args[1], 'COUNT', args[2])
  local found, size = {}, 0
  for _, bounds in ipairs({ { 0, USUAL }, { USUAL + 1, LARGEST } }) do
    for i = 2, #reply[2], 2 do
      local body = reply[2][i]
      if #body >= bounds[1] and #body <= bounds[2] and size + #body <= PAGE then
        found[#found + 1] = ''
        found[#found + 1] = body
        size = size + #body
      end
    end
  end
  return { reply[1], found }
end

-- KEYS: values that anybody may have written. ARGS: the bytes that one of ours has at most. As GET of
-- each, without what is larger: one large value must not cost a host its connection.
local function small(keys, args)
  local most = tonumber(args[1])
  if #args ~= 1 or not most then return redis.error_reply('ERR tidegate: a number of bytes') end
  local found = {}
  for i, key in ipairs(keys) do
    local value = redis.pcall('GET', key)
    found[i] = type(value) == 'string' and #value <= most and value or false
  end
  return found
end

-- KEYS: what belongs together. ARGS: of which type each is. Where one is of another type, or a stream
-- whose last place is of a time to come, so that soon nothing more can be added, somebody has spoiled
-- it: all of it goes, and whoever holds what was there says it again. How many keys went.
local function mend(keys, args)
  if #keys == 0 or #keys ~= #args then return redis.error_reply('ERR tidegate: keys and their types') end
  local spoiled = false
  for i, key in ipairs(keys) do
    local found = redis.call('TYPE', key).ok
    if found ~= 'none' and found ~= args[i] then
      spoiled = true
    elseif found == 'stream' then
      local told = redis.call('XINFO', 'STREAM', key)
      for at = 1, #told, 2 do
        if told[at] == 'last-generated-id' then
          spoiled = spoiled or tonumber(string.match(told[at + 1], '^%d+')) > clock() + AHEAD
        end
      end
    end
  end
  return spoiled and redis.call('UNLINK', unpack(keys)) or 0
end

-- Both at once, where one server has all shards: KEYS and ARGS of a count, then the stream and the
-- place behind which to read it. Two replies.
local function round(keys, args)
  local stream, place = table.remove(keys), table.remove(args)
  local counted = count(keys, args)
  local good, said = pcall(heard, { stream }, { place, MESSAGES })
  return { counted, good and said or not good and redis.error_reply('ERR tidegate: no such stream') }
end

-- KEYS: who is in service in a pool, by when that ends. ARGS: a host, whether it is "in", wants to
-- "leave" or is "out", and how many others are to be in service where one is not. Whether it may be
-- out, and how many others are in. Who may leave is in service no more from here on: of two that ask
-- at once, the second is told of one less. What is there for longer than we say it, is not ours.
local function pool(keys, args)
  local host, word, least = args[1], args[2], tonumber(args[3])
  local said = word == 'in' or word == 'leave' or word == 'out'
  if #keys ~= 1 or #args ~= 3 or not said or not least or #host < 1 or #host > LONGEST then
    return redis.error_reply('ERR tidegate: a pool; a host, a word, a number')
  end
  local now = clock()
  for _, bounds in ipairs({ { '-inf', now }, { '(' .. string.format('%.0f', now + STAYS), '+inf' } }) do
    local gone = redis.pcall('ZRANGEBYSCORE', keys[1], bounds[1], bounds[2], 'LIMIT', 0, 1000)
    if gone.err then  -- somebody else's: it goes at once
      redis.call('SET', keys[1], '', 'PX', 1)
      return redis.error_reply('ERR tidegate: no such pool')
    end
    for _, one in ipairs(gone) do redis.call('ZREM', keys[1], one) end
  end
  redis.call('ZREM', keys[1], host)
  local others = redis.call('ZCARD', keys[1])
  local may = word ~= 'in' and others >= least
  if word == 'in' or word == 'leave' and not may then
    redis.call('ZADD', keys[1], now + STAYS, host)
    redis.call('PEXPIRE', keys[1], STAYS)
  end
  return { may and 1 or 0, others }
end

redis.register_function('tg1_count', count)
redis.register_function('tg1_due', waiting)
redis.register_function('tg1_confirm', confirm)
redis.register_function('tg1_round', round)
redis.register_function('tg1_pool', pool)
redis.register_function{ function_name = 'tg1_mend', callback = mend, flags = { 'allow-oom' } }
redis.register_function{ function_name = 'tg1_page', callback = page, flags = { 'no-writes' } }
redis.register_function{ function_name = 'tg1_small', callback = small, flags = { 'no-writes' } }
redis.register_function{ function_name = 'tg1_heard', callback = heard, flags = { 'no-writes' } }
