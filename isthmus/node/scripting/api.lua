--[[
The redis table: what scripts call the server by.

Errors of the API itself are tables with a field err, as those of commands are; redis.call raises
them, redis.pcall returns them. `called` (replies.lua) makes Lua values of what a command answered.
--]]
local host, called, raise, int, room, set_protocol = ...

local find, gsub, sub = string.find, string.gsub, string.sub
local concat = table.concat
local select, tonumber, tostring, type, unpack = select, tonumber, tostring, type, unpack

-- More arguments than this do not fit on the stack of a call of the host.
local ARGUMENTS_MAX = 4000

-- ---------------------------------------------------------------------------------------------
-- the redis table

local host_call, host_log, host_sha1 = host.call, host.log, host.sha1

local redis_api = {
    LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
    REPL_ALL = 3, REPL_AOF = 1, REPL_NONE = 0, REPL_REPLICA = 2, REPL_SLAVE = 2,
    REDIS_VERSION = host.redis_version, REDIS_VERSION_NUM = host.redis_version_num,
}

local NO_ARGUMENT = "Please specify at least one argument for this redis lib call"

local function bad_argument(...)
    for i = 1, select("#", ...) do
        local kind = type((select(i, ...)))
        if kind ~= "string" and kind ~= "number" then
            return true
        end
    end
end

local function send(...)
    room()
    local count = select("#", ...)
    if count <= ARGUMENTS_MAX then
        return host_call(...)
    end
    local all = { ... }
    for i = 1, count, ARGUMENTS_MAX do
        host.stash(unpack(all, i, i + ARGUMENTS_MAX - 1 < count and i + ARGUMENTS_MAX - 1 or count))
    end
    return host_call()
end

function redis_api.call(...)
    if select("#", ...) == 0 then
        raise(NO_ARGUMENT)
    end
    return called(send(...), true)
end

function redis_api.pcall(...)
    if select("#", ...) == 0 then
        return { err = "ERR " .. NO_ARGUMENT }
    end
    return called(send(...), false)
end

function redis_api.error_reply(...)
    local text = ...
    if select("#", ...) ~= 1 or type(text) ~= "string" then
        return { err = "ERR wrong number or type of arguments" }
    end
    text = gsub(text, "%z.*", "")
    if sub(text, 1, 1) == "-" then
        text = sub(text, 2)
    end
    text = gsub(gsub(text, "^[\r\n]+", ""), "[\r\n]+$", "")
    if not find(text, " ", 1, true) then
        text = "ERR " .. text
    end
    return { err = text }
end

function redis_api.status_reply(...)
    local text = ...
    if select("#", ...) ~= 1 or type(text) ~= "string" then
        return { err = "ERR wrong number or type of arguments" }
    end
    return { ok = text }
end

function redis_api.sha1hex(...)
    if select("#", ...) ~= 1 then
        raise("wrong number of arguments")
    end
    local text = ...
    local kind = type(text)
    return host_sha1((kind == "string" or kind == "number") and tostring(text) or "")
end

function redis_api.log(...)
    local count = select("#", ...)
    if count < 2 then
        raise("redis.log() requires two arguments or more.")
    end
    local level = tonumber((...))
    if not level then
        raise("First argument must be a number (log level).")
    end
    level = int(level)
    if level < 0 or level > 3 then
        raise("Invalid log level.")
    end
    local parts = {}
    for i = 2, count do
        local part = select(i, ...)
        if type(part) == "string" or type(part) == "number" then
            parts[#parts + 1] = tostring(part)
        end
    end
    host_log(level, concat(parts, " "))
end

function redis_api.setresp(...)
    if not host.running() then
        raise("redis.setresp can only be called inside a script invocation")
    end
    if select("#", ...) ~= 1 then
        raise("redis.setresp() requires one argument.")
    end
    local version = tonumber((...))
    version = version and int(version)
    if version ~= 2 and version ~= 3 then
        raise("RESP version must be 2 or 3.")
    end
    set_protocol(version)
end

function redis_api.set_repl(...)
    if not host.running() then
        raise("redis.set_repl can only be called inside a script invocation")
    end
    if select("#", ...) ~= 1 then
        raise("redis.set_repl() requires one argument.")
    end
    local flags = int(tonumber((...)) or 0)
    if flags < 0 or flags > 3 then
        raise("Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.")
    end
end

function redis_api.replicate_commands()
    return true
end

function redis_api.breakpoint()
    return false
end

function redis_api.debug() end

function redis_api.acl_check_cmd(...)
    if not host.running() then
        raise("redis.acl_check_cmd can only be called inside a script invocation")
    end
    if select("#", ...) == 0 then
        raise(NO_ARGUMENT)
    end
    if bad_argument(...) then
        raise("Lua redis lib command arguments must be strings or integers")
    end
    local verdict = host.may(...)
    if type(verdict) == "string" then
        raise(verdict)
    end
    return verdict
end

return redis_api
