#!/usr/bin/env node
import { clientCommand } from './client-command.ts';

process.exitCode = await clientCommand(process.argv.slice(2));
