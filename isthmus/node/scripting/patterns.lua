--[[
string.find, match, gmatch and gsub that cannot hold the server up.

Lua's matcher is C and backtracks: a pattern with k repetitions can take about n^(k+1) steps on n
bytes, and nothing can interrupt it. Where that bound is small the C function is called. Where it is
not, the matcher below does the same in Lua, slower, but where the count hook fires.
--]]
local safe_string, string, host_find = ...

local error, rawget, select, setmetatable, tonumber, tostring, type =
    error, rawget, select, setmetatable, tonumber, tostring, type
local find, gmatch, gsub, match = string.find, string.gmatch, string.gsub, string.match
local byte, char, concat, sub = string.byte, string.char, table.concat, string.sub
local c_find = find

local STEPS_IN_C_MAX = 1e8
local REMEMBERED_MAX = 512
local CAPTURES_MAX = 32
local POSITION, OPEN = -2, -1

local function done(...)
    return ...
end

-- How many repetitions a pattern has that may be tried again and again (the last item's is not).
local weights, remembered = {}, 0

local function weight_of(pattern)
    local weight = weights[pattern]
    if weight then
        return weight
    end
    local plain = gsub(pattern, "%%[^bf1-9]", "")
    plain = gsub(plain, "[*+?-]%)*$", "")
    weight = select(2, gsub(plain, "[*+?-]", "")) + select(2, gsub(plain, "%%[b1-9]", ""))
    if byte(pattern, 1) ~= 94 then
        weight = weight + 1
    end
    if remembered >= REMEMBERED_MAX then
        weights, remembered = {}, 0
    end
    weights[pattern], remembered = weight, remembered + 1
    return weight
end

local function cheap(subject, pattern)
    if type(subject) ~= "string" or type(pattern) ~= "string" then
        return true
    end
    local size = #subject
    if size < 40 and #pattern < 8 then
        return true
    end
    return size ^ weight_of(pattern) * #pattern <= STEPS_IN_C_MAX
end

-- ---------------------------------------------------------------------------------------------
-- the matcher; a state holds subject, pattern, captures as {start, length}

local do_match

local function class_end(state, p)
    local pattern = state.pattern
    local c = byte(pattern, p)
    p = p + 1
    if c == 37 then -- %
        if p > #pattern then
            error("malformed pattern (ends with '%')", 0)
        end
        return p + 1
    end
    if c == 91 then -- [
        if byte(pattern, p) == 94 then
            p = p + 1
        end
        repeat
            if p > #pattern then
                error("malformed pattern (missing ']')", 0)
            end
            c = byte(pattern, p)
            p = p + 1
            if c == 37 and p <= #pattern then
                p = p + 1
            end
        until byte(pattern, p) == 93
        return p + 1
    end
    return p
end

-- The bytes a class of one item matches, as a table; asked of the C library, one byte at a time.
local classes, classes_count = {}, 0

local function class_of(item)
    local set = classes[item]
    if not set then
        set = {}
        local anchored = item == "^" and "%^" or item
        for code = 0, 255 do
            if c_find(char(code), anchored) then
                set[code] = true
            end
        end
        if classes_count >= REMEMBERED_MAX then
            classes, classes_count = {}, 0
        end
        classes[item], classes_count = set, classes_count + 1
    end
    return set
end

local function single(state, s, p, ep)
    local code = byte(state.subject, s)
    if not code then
        return false
    end
    local first = byte(state.pattern, p)
    if first == 46 then -- .
        return true
    end
    if first ~= 37 and first ~= 91 then
        return first == code
    end
    return class_of(sub(state.pattern, p, ep - 1))[code] or false
end

local function balance(state, s, p)
    local opening, closing = byte(state.pattern, p, p + 1)
    if not closing then
        error("unbalanced pattern", 0)
    end
    if byte(state.subject, s) ~= opening then
        return nil
    end
    local open = 1
    for at = s + 1, #state.subject do
        local code = byte(state.subject, at)
        if code == closing then
            open = open - 1
            if open == 0 then
                return at + 1
            end
        elseif code == opening then
            open = open + 1
        end
    end
end

local function expand_most(state, s, p, ep)
    local count = 0
    while single(state, s + count, p, ep) do
        count = count + 1
    end
    while count >= 0 do
        local stop = do_match(state, s + count, ep + 1)
        if stop then
            return stop
        end
        count = count - 1
    end
end

local function expand_least(state, s, p, ep)
    while true do
        local stop = do_match(state, s, ep + 1)
        if stop then
            return stop
        end
        if not single(state, s, p, ep) then
            return nil
        end
        s = s + 1
    end
end

local function open_capture(state, s, p, kind)
    local level = state.level
    if level >= CAPTURES_MAX then
        error("too many captures", 0)
    end
    state.starts[level + 1], state.lengths[level + 1] = s, kind
    state.level = level + 1
    local stop = do_match(state, s, p)
    if not stop then
        state.level = state.level - 1
    end
    return stop
end

local function close_capture(state, s, p)
    local index
    for level = state.level, 1, -1 do
        if state.lengths[level] == OPEN then
            index = level
            break
        end
    end
    if not index then
        error("invalid pattern capture", 0)
    end
    state.lengths[index] = s - state.starts[index]
    local stop = do_match(state, s, p)
    if not stop then
        state.lengths[index] = OPEN
    end
    return stop
end

local function back_reference(state, s, digit)
    local level = digit - 48
    if level < 1 or level > state.level or state.lengths[level] == OPEN then
        error("invalid capture index", 0)
    end
    local start, length = state.starts[level], state.lengths[level]
    if length == POSITION then
        return nil
    end
    local text = sub(state.subject, start, start + length - 1)
    if sub(state.subject, s, s + length - 1) == text then
        return s + length
    end
end

local function frontier(state, s, p)
    if byte(state.pattern, p) ~= 91 then
        error("missing '[' after '%f' in pattern", 0)
    end
    local ep = class_end(state, p)
    local set = class_of(sub(state.pattern, p, ep - 1))
    if not set[byte(state.subject, s - 1) or 0] and set[byte(state.subject, s) or 0] then
        return ep
    end
end

local function escaped(state, s, p)
    -- the items that begin with %, but for classes; the third result tells that there was one
    local code = byte(state.pattern, p + 1)
    if code == 98 then -- %b
        local after = balance(state, s, p + 2)
        return after, p + 4, true
    elseif code == 102 then -- %f
        local after = frontier(state, s, p + 2)
        return after and s, after, true
    elseif code and code >= 48 and code <= 57 then
        return back_reference(state, s, code), p + 2, true
    end
end

function do_match(state, s, p)
    local pattern = state.pattern
    while true do
        local code = byte(pattern, p)
        if not code then
            return s
        end
        if code == 40 then -- (
            if byte(pattern, p + 1) == 41 then
                return open_capture(state, s, p + 2, POSITION)
            end
            return open_capture(state, s, p + 1, OPEN)
        elseif code == 41 then -- )
            return close_capture(state, s, p + 1)
        elseif code == 36 and p == #pattern then -- $ at the end
            return s == #state.subject + 1 and s or nil
        end
        local special = false
        if code == 37 then
            local after, next_p, found = escaped(state, s, p)
            if found then
                if not after then
                    return nil
                end
                s, p, special = after, next_p, true
            end
        end
        if not special then
            local ep = class_end(state, p)
            local mode = byte(pattern, ep)
            if mode == 63 then -- ?
                if single(state, s, p, ep) then
                    local stop = do_match(state, s + 1, ep + 1)
                    if stop then
                        return stop
                    end
                end
                p = ep + 1
            elseif mode == 42 then -- *
                return expand_most(state, s, p, ep)
            elseif mode == 43 then -- +
                return single(state, s, p, ep) and expand_most(state, s + 1, p, ep) or nil
            elseif mode == 45 then -- -
                return expand_least(state, s, p, ep)
            elseif single(state, s, p, ep) then
                s, p = s + 1, ep
            else
                return nil
            end
        end
    end
end

-- ---------------------------------------------------------------------------------------------
-- the four functions over it

local function new_state(subject, pattern)
    local anchored = byte(pattern, 1) == 94
    return { subject = subject, pattern = pattern, level = 0, starts = {}, lengths = {},
        anchored = anchored, first = anchored and 2 or 1 }
end

local function capture(state, index, s, e)
    if index > state.level then
        if index > 1 then
            error("invalid capture index", 0)
        end
        return sub(state.subject, s, e - 1)
    end
    local length = state.lengths[index]
    if length == OPEN then
        error("unfinished capture", 0)
    end
    local start = state.starts[index]
    if length == POSITION then
        return start
    end
    return sub(state.subject, start, start + length - 1)
end

local function captures(state, s, e, index)
    -- every capture from index on; the whole match if there is none
    index = index or 1
    if index > state.level and (index > 1 or not s) then
        return
    end
    if index >= state.level then
        return capture(state, index, s, e)
    end
    return capture(state, index, s, e), captures(state, s, e, index + 1)
end

local function search(state, from)
    local last = state.anchored and from or #state.subject + 1
    for s = from, last do
        state.level = 0
        local e = do_match(state, s, state.first)
        if e then
            return s, e
        end
    end
end

local function start_of(subject, init)
    init = tonumber(init) or 1
    if init < 0 then
        init = #subject + init + 1
    end
    return init < 1 and 1 or init > #subject + 1 and #subject + 1 or init
end

local SPECIALS = "[%^%$%*%+%?%.%(%[%%%-]"

function safe_string.find(subject, pattern, init, plain, ...)
    local literal = plain or type(pattern) == "string" and not c_find(pattern, SPECIALS)
    if literal and type(subject) == "string" and type(pattern) == "string" then
        if #subject * #pattern > 1e7 then
            local from = start_of(subject, init)
            local at = host_find(subject, pattern, from - 1)
            if at < 0 then
                return nil
            end
            return at + 1, at + #pattern
        end
    end
    if literal or cheap(subject, pattern) then
        if init == nil then
            return done(find(subject, pattern))
        end
        return done(find(subject, pattern, init, plain, ...))
    end
    local state = new_state(subject, pattern)
    local s, e = search(state, start_of(subject, init))
    if s then
        return s, e - 1, captures(state, nil, nil)
    end
    return nil
end

function safe_string.match(subject, pattern, ...)
    if cheap(subject, pattern) then
        return done(match(subject, pattern, ...))
    end
    local state = new_state(subject, pattern)
    local s, e = search(state, start_of(subject, (...)))
    if s then
        return captures(state, s, e)
    end
    return nil
end

function safe_string.gmatch(subject, pattern, ...)
    if cheap(subject, pattern) then
        return done(gmatch(subject, pattern, ...))
    end
    local from, state = 1, new_state(subject, pattern)
    -- Here an anchor is an ordinary character.
    state.anchored, state.first = false, 1
    return function()
        if from > #subject + 1 then
            return nil
        end
        local s, e = search(state, from)
        if not s then
            from = #subject + 2
            return nil
        end
        from = e == s and e + 1 or e
        return captures(state, s, e)
    end
end

safe_string.gfind = safe_string.gmatch

local function replacement(state, s, e, by)
    local kind = type(by)
    local value
    if kind == "string" then
        return (gsub(by, "%%(.)", function(c)
            if c == "0" then
                return sub(state.subject, s, e - 1)
            end
            local digit = tonumber(c)
            return digit and capture(state, digit, s, e) or c
        end))
    elseif kind == "table" then
        value = by[capture(state, 1, s, e)]
    else
        value = by(captures(state, s, e))
    end
    if not value then
        return sub(state.subject, s, e - 1)
    end
    if type(value) ~= "string" and type(value) ~= "number" then
        error("invalid replacement value (a " .. type(value) .. ")", 0)
    end
    return value
end

function safe_string.gsub(subject, pattern, by, ...)
    local kind = type(by)
    if cheap(subject, pattern) or kind == "nil" or kind == "boolean" or kind == "userdata" then
        return done(gsub(subject, pattern, by, ...))
    end
    if kind == "number" then
        by = tostring(by)
    end
    local most = tonumber((...)) or #subject + 1
    local state, out, count, s = new_state(subject, pattern), {}, 0, 1
    while count < most do
        state.level = 0
        local e = do_match(state, s, state.first)
        if e then
            count = count + 1
            out[#out + 1] = replacement(state, s, e, by)
        end
        if e and e > s then
            s = e
        elseif s <= #subject then
            out[#out + 1] = sub(subject, s, s)
            s = s + 1
        else
            break
        end
        if state.anchored then
            break
        end
    end
    out[#out + 1] = sub(subject, s)
    return concat(out), count
end
