--[[
The sandbox: all that a script can see, built once per runtime.

This chunk is called with `host`, the functions of runtime.py, and `libraries`, the other .lua
chunks. None of the host's functions may ever be reachable from a script, nor a table that two
scripts could both write to: scripts of different users share one Lua state, so every shared table is
seen through a read-only proxy (`protect`), and what looks at tables without their metamethods
(rawget, next, table.insert ...) is replaced by a version that knows the proxies.

Lua 5.1 cannot be interrupted inside a C function. So whatever can run long in C (patterns that
backtrack, sorting, shifting) is bounded here or done in Lua, where the count hook fires.

The chunk's name is `=\1`. Error messages that begin with it were raised by a C function called
from here; `blame` gives them the position of the script's own line instead. For the same reason
captured C functions keep their own names: Lua quotes the name of the variable.
--]]
local host, libraries = ...

local assert, collectgarbage, error, gcinfo, getmetatable, ipairs, loadstring, next, pairs, pcall,
    rawequal, rawget, rawset, select, setfenv, setmetatable, tonumber, tostring, type, unpack, xpcall =
    assert, collectgarbage, error, gcinfo, getmetatable, ipairs, loadstring, next, pairs, pcall,
    rawequal, rawget, rawset, select, setfenv, setmetatable, tonumber, tostring, type, unpack, xpcall
local coroutine, math, string, table = coroutine, math, string, table
local byte, find, format, gsub, rep, sub = string.byte, string.find, string.format, string.gsub,
    string.rep, string.sub
local concat, floor = table.concat, math.floor
local getinfo, sethook = debug.getinfo, debug.sethook
local clock = os.clock

-- cjson.null: in Redis a null pointer, here a userdata of its own that calls itself one.
local null = newproxy(true)
getmetatable(null).__tostring = function()
    return "userdata: (nil)"
end

local HOOK_EVERY = host.hook_every
local STRING_BYTES_MAX = host.string_bytes_max
local SORT_IN_C_MAX = 5000
local UNPACK_MAX = 8000
local READ_ONLY = "Attempt to modify a readonly table"
local MARK = "\1:"

-- ---------------------------------------------------------------------------------------------
-- interruption: the hook lets the host take over, and learns that the script shall end

local killed = nil
-- the protocol the script asked for with redis.setresp
local resp = 2

-- Made beforehand: whoever is ended may have used up all memory.
local ENDINGS = {
    { err = "ERR Script killed by user with SCRIPT KILL." },
    { err = "ERR Script killed by user with FUNCTION KILL." },
    { err = "ERR FUNCTION LOAD timeout" },
}
local host_tick = host.tick

local function hook()
    local ending = host_tick()
    if ending > 0 then
        killed = ENDINGS[ending]
        error(killed, 0)
    end
end

-- What the host returns is put into Lua's memory by code that does not survive a failure. So it is
-- called only while there is room.
local ROOM_KIB = host.room_kib

local function room()
    if collectgarbage("count") > ROOM_KIB then
        error("not enough memory", 0)
    end
end

local function guarded(call)
    return function(...)
        room()
        return call(...)
    end
end

for _, name in ipairs({ "double", "pack_float", "unpack_float", "bit", "low_bits", "sha1", "find",
    "may" }) do
    host[name] = guarded(host[name])
end

local function watched_coroutine(body)
    local thread = coroutine.create(body)
    sethook(thread, hook, "", HOOK_EVERY)
    return thread
end

-- ---------------------------------------------------------------------------------------------
-- errors

local function position(level)
    -- "file:line: " of the first function from `level` on that belongs to a script
    while true do
        level = level + 1
        local info = getinfo(level, "Sl")
        if not info then
            return nil
        end
        if info.what ~= "C" and info.what ~= "tail" and info.source ~= "=\1" then
            return info.source, info.currentline, info.short_src
        end
    end
end

local function blame(message, source_at)
    -- A message that carries our own position gets the script's.
    if type(message) == "string" and sub(message, 1, 2) == MARK then
        local _, stop = find(message, "^\1:%d+: ")
        if stop then
            return source_at .. sub(message, stop + 1)
        end
    end
    return message
end

local function on_error(problem)
    local source, line, short = position(2)
    local ignore, text
    if type(problem) == "table" then
        text = rawget(problem, "err")
        ignore = rawget(problem, "ignore_error_stats_update")
        if type(text) ~= "string" and type(text) ~= "number" then
            text = "ERR unknown error"
        end
    else
        local at = source and format("%s:%d: ", short, line) or ""
        text = "ERR " .. tostring(blame(problem, at))
    end
    return { text = tostring(text), source = source, line = line, ignore = ignore and true or false }
end

local function raise(text)
    -- an error of the API itself: a table, as redis.call raises it
    error({ err = "ERR " .. text }, 0)
end

local function done(...)
    return ...
end

-- ---------------------------------------------------------------------------------------------
-- read-only proxies

local real_of = {}
local shown_metatable = {}

local function refuse_write()
    error(READ_ONLY, 2)
end

local function protect(real)
    local proxy = setmetatable({}, { __index = real, __newindex = refuse_write })
    real_of[proxy] = real
    return proxy
end

local safe = {
    assert = assert, error = error, gcinfo = gcinfo, ipairs = ipairs, rawequal = rawequal,
    select = select, tonumber = tonumber, tostring = tostring, type = type, _VERSION = _VERSION,
}

function safe.next(t, key)
    local real = real_of[t]
    return done(next(real or t, key))
end

function safe.pairs(t)
    if real_of[t] then
        return safe.next, t, nil
    end
    return done(pairs(t))
end

function safe.rawget(t, key)
    return done(rawget(real_of[t] or t, key))
end

function safe.rawset(t, key, value)
    if real_of[t] then
        error(READ_ONLY, 0)
    end
    return done(rawset(t, key, value))
end

-- Known to scripts by this name in Redis.
function safe.__redis__err__handler(problem)
    if type(problem) ~= "table" then
        problem = { err = "ERR " .. tostring(problem) }
    end
    return problem
end

local string_metatable = getmetatable("")

function safe.getmetatable(...)
    local value = ...
    if type(value) == "string" then
        return shown_metatable[string_metatable]
    end
    if value == null then
        return nil
    end
    if real_of[value] then
        return shown_metatable[value]
    end
    return done(getmetatable(...))
end

function safe.setmetatable(t, metatable)
    if real_of[t] then
        error(READ_ONLY, 0)
    end
    return done(setmetatable(t, metatable))
end

function safe.unpack(...)
    local t, first, last = ...
    local from, to = tonumber(first) or 1, tonumber(last)
    if to and to - from >= UNPACK_MAX then
        error("too many results to unpack", 2)
    elseif real_of[t] then
        return
    end
    -- Exactly what came: each argument takes a place of a result.
    return done(unpack(...))
end

-- ---------------------------------------------------------------------------------------------
-- protected calls: a script that is to end cannot catch that

local function after_pcall(ok, ...)
    if ok then
        return ok, ...
    end
    if killed then
        error(killed, 0)
    end
    local problem = ...
    if type(problem) == "table" then
        local text = rawget(problem, "err")
        if type(text) == "string" or type(text) == "number" then
            return false, text
        end
        return false, problem
    end
    return false, blame(problem, "")
end

function safe.pcall(...)
    if select("#", ...) == 0 then
        error("bad argument #1 to 'pcall' (value expected)", 2)
    end
    return after_pcall(pcall(...))
end

local function after_xpcall(ok, ...)
    if not ok and killed then
        error(killed, 0)
    end
    return ok, ...
end

function safe.xpcall(...)
    if select("#", ...) < 2 then
        error("bad argument #2 to 'xpcall' (value expected)", 2)
    end
    local body, handler = ...
    return after_xpcall(xpcall(body, function(problem)
        if killed then
            -- We are inside the hook, where no hook fires: the script's code must not run here.
            return problem
        end
        return handler(blame(problem, ""))
    end))
end

local safe_coroutine = { running = coroutine.running, status = coroutine.status,
    yield = coroutine.yield }

function safe_coroutine.create(body)
    if type(body) ~= "function" then
        error("bad argument #1 to 'create' (Lua function expected)", 2)
    end
    return watched_coroutine(body)
end

local resume = coroutine.resume

function safe_coroutine.resume(...)
    return after_xpcall(resume(...))
end

local function wrapped(ok, ...)
    if ok then
        return ...
    end
    if killed then
        error(killed, 0)
    end
    local problem = ...
    if type(problem) == "string" then
        error(problem, 3)
    end
    error(problem, 0)
end

function safe_coroutine.wrap(body)
    if type(body) ~= "function" then
        error("bad argument #1 to 'wrap' (Lua function expected)", 2)
    end
    local thread = watched_coroutine(body)
    return function(...)
        return done(wrapped(resume(thread, ...)))
    end
end

-- Only what cannot disturb others: the collector belongs to all scripts.
local COLLECT = { collect = true, step = true, count = true }
local QUIET = { stop = true, restart = true, setpause = true, setstepmul = true }
local pace = { setpause = 200, setstepmul = 200 }

function safe.collectgarbage(option, argument)
    if option == nil then
        option = "collect"
    end
    if QUIET[option] then
        return pace[option] or 0
    end
    if option == "step" then
        argument = 0
    end
    return done(collectgarbage(option, argument))
end

-- ---------------------------------------------------------------------------------------------
-- string, table, math, os

local safe_string = {}
for _, name in ipairs({ "byte", "char", "dump", "format", "len", "lower", "reverse", "sub", "upper" }) do
    safe_string[name] = string[name]
end

function safe_string.rep(...)
    local s, n = ...
    local size, count = type(s) == "string" and #s or 0, tonumber(n) or 0
    if size > 0 and count > 0 and size * count > STRING_BYTES_MAX then
        error("not enough memory", 0)
    end
    if type(s) == "string" and size == 0 and type(n) == "number" then
        return ""
    end
    return done(rep(...))
end

local safe_table = { concat = table.concat, foreach = table.foreach, foreachi = table.foreachi,
    getn = table.getn, maxn = table.maxn, setn = table.setn }
local insert, remove, sort = table.insert, table.remove, table.sort

function safe_table.insert(t, ...)
    if real_of[t] then
        error(READ_ONLY, 0)
    end
    local place, value = ...
    if select("#", ...) == 2 and type(t) == "table" and type(place) == "number" and place < 1 then
        -- The C function would shift billions of slots without a pause.
        place = place < 0 and -floor(-place) or floor(place)
        for i = #t + 1, place + 1, -1 do
            rawset(t, i, rawget(t, i - 1))
        end
        rawset(t, place, value)
        return
    end
    return done(insert(t, ...))
end

function safe_table.remove(t, ...)
    if real_of[t] then
        error(READ_ONLY, 0)
    end
    return done(remove(t, ...))
end

local function less(a, b)
    return a < b
end

function safe_table.sort(t, ...)
    if real_of[t] then
        return
    end
    if type(t) == "table" and ... == nil and #t > SORT_IN_C_MAX then
        -- With an order of ours the hook fires: bad input makes quicksort quadratic.
        return done(sort(t, less))
    end
    return done(sort(t, ...))
end

local safe_math = {}
for _, name in ipairs({ "abs", "acos", "asin", "atan", "atan2", "ceil", "cos", "cosh", "deg", "exp",
    "floor", "fmod", "frexp", "huge", "ldexp", "log", "log10", "max", "min", "mod", "modf", "pi", "pow",
    "rad", "sin", "sinh", "sqrt", "tan", "tanh" }) do
    safe_math[name] = math[name]
end

-- Redis' generator: the 48-bit linear congruence of lrand48, the state in halves of 24 bits, so
-- that products stay exact.
local HALF = 16777216
local high, low = 0x1234AB, 0xCD330E

local function draw()
    local t = low * 0xECE66D + 11
    high = (high * 0xECE66D + low * 0x5DE + floor(t / HALF)) % HALF
    low = t % HALF
    return (high * 128 + floor(low / 131072)) % 2147483647 / 2147483647
end

local function int(value)
    return value < 0 and -floor(-value) or floor(value)
end

local function number_argument(value, index, name, present)
    local number = tonumber(value)
    if not number or (type(value) ~= "number" and type(value) ~= "string") then
        local got = present and type(value) or "no value"
        error(format("bad argument #%d to '%s' (number expected, got %s)", index, name, got), 3)
    end
    return number
end

function safe_math.random(...)
    local count = select("#", ...)
    local r = draw()
    if count == 0 then
        return r
    end
    local a, b = ...
    a = int(number_argument(a, 1, "random", true))
    if count == 1 then
        if a < 1 then
            error("bad argument #1 to 'random' (interval is empty)", 2)
        end
        return floor(r * a) + 1
    end
    if count > 2 then
        error("wrong number of arguments", 2)
    end
    b = int(number_argument(b, 2, "random", true))
    if a > b then
        error("bad argument #2 to 'random' (interval is empty)", 2)
    end
    return floor(r * (b - a + 1)) + a
end

function safe_math.randomseed(...)
    local seed = int(number_argument(..., 1, "randomseed", select("#", ...) > 0)) % 4294967296
    high, low = floor(seed / 256), seed % 256 * 65536 + 0x330E
end

-- ---------------------------------------------------------------------------------------------
-- the environments: one for EVAL, one for libraries of functions

local called, reply = libraries.replies(host, raise)
local redis_api = libraries.api(host, called, raise, int, room, function(version)
    resp = version
    host.set_protocol(version)
end)

libraries.patterns(safe_string, string, host.find)
local cjson_table, reset_cjson = libraries.cjson(null, number_argument)
local shared = {
    bit = protect(libraries.bit(host.bit, host.low_bits, number_argument)),
    cjson = protect(cjson_table),
    cmsgpack = protect(libraries.cmsgpack(host.pack_float, host.unpack_float)),
    struct = protect(libraries.struct(host.pack_float, host.unpack_float, host.bit, number_argument)),
    string = protect(safe_string), table = protect(safe_table), math = protect(safe_math),
    coroutine = protect(safe_coroutine), os = protect({ clock = clock }),
}
string_metatable.__index = safe_string
shown_metatable[string_metatable] = protect({ __index = shared.string })

local function missing(_, name)
    if type(name) ~= "string" and type(name) ~= "number" then
        error("Second argument to luaProtectedTableError must be a string or number", 2)
    end
    error("Script attempted to access nonexistent global variable '" .. name .. "'", 2)
end

local function environment(redis_table)
    local real = setmetatable({}, { __index = missing })
    for name, value in next, safe do
        real[name] = value
    end
    for name, value in next, shared do
        real[name] = value
    end
    real.redis = protect(redis_table)
    local proxy = protect(real)
    shown_metatable[proxy] = protect({ __index = missing })
    real._G = proxy

    local function compile(text, name)
        if byte(text, 1) == 27 then
            return nil, "binary chunks are not accepted"
        end
        local body, problem = loadstring(text, name or text)
        if not body then
            return nil, problem
        end
        return setfenv(body, proxy)
    end

    function real.loadstring(...)
        local text, name = ...
        if type(text) ~= "string" and type(text) ~= "number" then
            local got = select("#", ...) > 0 and type(text) or "no value"
            error("bad argument #1 to 'loadstring' (string expected, got " .. got .. ")", 2)
        end
        return compile(tostring(text), name and tostring(name))
    end

    function real.load(reader, name)
        if type(reader) ~= "function" then
            local got = reader == nil and "no value" or type(reader)
            error("bad argument #1 to 'load' (function expected, got " .. got .. ")", 2)
        end
        local parts, size = {}, 0
        while true do
            local part = reader()
            if part == nil or part == "" then
                break
            end
            if type(part) ~= "string" then
                return nil, "reader function must return a string"
            end
            size = size + #part
            if size > STRING_BYTES_MAX then
                return nil, "not enough memory"
            end
            parts[#parts + 1] = part
        end
        return compile(concat(parts), name and tostring(name) or "=(load)")
    end

    return proxy, real, getmetatable(proxy)
end

local eval_environment, eval_globals = environment(redis_api)
local function_api = {}
for name, value in next, redis_api do
    if name ~= "breakpoint" and name ~= "debug" and name ~= "replicate_commands" then
        function_api[name] = value
    end
end
local function_environment, function_globals, function_switch = environment(function_api)

-- While a library is loaded its functions' environment has `redis` alone, and of that little.
local load_api = setmetatable({ log = redis_api.log, LOG_DEBUG = 0, LOG_VERBOSE = 1,
    LOG_NOTICE = 2, LOG_WARNING = 3, REDIS_VERSION = host.redis_version,
    REDIS_VERSION_NUM = host.redis_version_num }, { __index = missing })
local load_globals = setmetatable({ redis = protect(load_api) }, { __index = missing })

-- What the library being loaded has registered so far.
local registered = nil

local function text_or_nil(value)
    local kind = type(value)
    return (kind == "string" or kind == "number") and tostring(value) or nil
end

local function checked(value, problem)
    if not value then
        raise(problem)
    end
    return value
end

local function named_flags(value)
    if type(value) ~= "table" then
        raise("flags argument to redis.register_function must be a table representing function flags")
    end
    local flags = {}
    for _, flag in ipairs(value) do
        flag = text_or_nil(flag)
        if not flag or not host.is_flag(flag) then
            raise("unknown flag given")
        end
        flags[#flags + 1] = flag
    end
    return flags
end

local NAMED = {
    function_name = function(entry, value)
        entry.name = checked(text_or_nil(value),
            "function_name argument given to redis.register_function must be a string")
    end,
    description = function(entry, value)
        entry.description = checked(text_or_nil(value),
            "description argument given to redis.register_function must be a string")
    end,
    callback = function(entry, value)
        entry.callback = checked(type(value) == "function" and value,
            "callback argument given to redis.register_function must be a function")
    end,
    flags = function(entry, value)
        entry.flags = named_flags(value)
    end,
}

local function named_arguments(given)
    if type(given) ~= "table" then
        raise("calling redis.register_function with a single argument is only applicable to Lua "
            .. "table (representing named arguments).")
    end
    local entry = {}
    for key, value in next, given do
        key = checked(text_or_nil(key),
            "named argument key given to redis.register_function is not a string")
        checked(NAMED[key], "unknown argument given to redis.register_function")(entry, value)
    end
    checked(entry.name, "redis.register_function must get a function name argument")
    checked(entry.callback, "redis.register_function must get a callback argument")
    return entry
end

function load_api.register_function(...)
    if not registered then
        raise("redis.register_function can only be called on FUNCTION LOAD command")
    end
    local count = select("#", ...)
    local first, second = ...
    local entry
    if count == 1 then
        entry = named_arguments(first)
    elseif count == 2 then
        entry = { name = checked(text_or_nil(first),
            "first argument to redis.register_function must be a string"),
            callback = checked(type(second) == "function" and second,
            "second argument to redis.register_function must be a function") }
    else
        raise("wrong number of arguments to redis.register_function")
    end
    if not find(entry.name, "^[%w_]+$") then
        raise("Library names can only contain letters, numbers, or underscores(_) and must be at "
            .. "least one character long")
    end
    for _, other in ipairs(registered) do
        if other.name == entry.name then
            raise("Function already exists in the library")
        end
    end
    registered[#registered + 1] = entry
end

-- ---------------------------------------------------------------------------------------------
-- what the host calls

local entry = {}

function entry.compile(source, name)
    -- the function, or nil and the message
    local body, problem = loadstring(source, name)
    if not body then
        return nil, problem
    end
    return body, string.dump(body)
end

function entry.bind(bytecode, name, for_functions)
    local body = assert(loadstring(bytecode, name))
    return setfenv(body, for_functions and function_environment or eval_environment)
end

local function failure(problem)
    -- xpcall gives on_error's table; a plain text if even that had no memory
    if type(problem) == "table" then
        return problem.text, problem.source, problem.line, problem.ignore
    end
    return "ERR " .. tostring(problem), nil, nil, false
end

local function lists(count, ...)
    if count == 0 then
        return {}, { ... }
    end
    local keys, arguments = { ... }, {}
    for i = count + 1, #keys do
        arguments[i - count] = keys[i]
        keys[i] = nil
    end
    return keys, arguments
end

local function outcome(ok, first)
    -- the reply's bytes; or nil and what is known of the error
    if not ok then
        return nil, failure(first)
    end
    return first
end

local function answer(protocol, ok, value)
    if not ok then
        return nil, failure(value)
    end
    local kind = type(value)
    if kind == "number" or (kind == "string" and #value < 4096) then
        return reply(value, protocol, resp)
    end
    -- It may be large, or nested: this can fail, too.
    return outcome(xpcall(function()
        return reply(value, protocol, resp)
    end, on_error))
end

local function begin()
    killed = nil
    resp = 2
    reset_cjson()
end

function entry.eval(body, protocol, keys_count, ...)
    begin()
    local keys, arguments = lists(keys_count, ...)
    eval_globals.KEYS, eval_globals.ARGV = keys, arguments
    return answer(protocol, xpcall(body, on_error))
end

function entry.eval_long(body, protocol, keys, arguments)
    begin()
    eval_globals.KEYS, eval_globals.ARGV = keys, arguments
    return answer(protocol, xpcall(body, on_error))
end

function entry.fcall(body, protocol, keys, arguments)
    begin()
    return outcome(xpcall(function()
        return reply(body(keys, arguments), protocol, resp)
    end, on_error))
end

-- Run a library's code and list what it registers.
function entry.load(body)
    begin()
    registered = {}
    function_switch.__index = load_globals
    local ok, problem = xpcall(body, on_error)
    function_switch.__index = function_globals
    local found = registered
    registered = nil
    if not ok then
        return nil, failure(problem)
    end
    return found
end

sethook(hook, "", HOOK_EVERY)
local globals = _G
for name in next, globals do
    globals[name] = nil
end
return entry
